"""Processes of the lab: started on a core of their own, measured from /proc, stopped by their own id.

Core 0 runs the program under test, core 1 the origin and the load generator. Both are this machine's: other work on
it disturbs the figures, so each measuring window also tells the CPU that others used meanwhile (`foreign`).
"""
import atexit
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SCRATCH = tempfile.mkdtemp(prefix="headgate-bench-")
# With a single core everything shares it; ratios then still mean something, rates do not.
CORES = sorted(os.sched_getaffinity(0))
PROGRAM_CORE, LOAD_CORE = str(CORES[0]), str(CORES[1 % len(CORES)])
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
NICE = "-10" if os.geteuid() == 0 else "0"
QUIET_WAIT_SECS = 20
START_LIMIT_SECS = 60
STOP_LIMIT_SECS = 5

started = []


def pinned(core, argv):
    return ["taskset", "-c", core, "nice", "-n", NICE, *argv]


def own_session():
    """A session of its own with a raised weight: where the kernel groups by session, nice alone weighs nothing."""
    os.setsid()
    try:
        with open("/proc/self/autogroup", "w") as weight:
            weight.write(NICE)
    except OSError:
        pass


def start(name, argv, core=PROGRAM_CORE):
    with open(f"{SCRATCH}/{name}.log", "ab") as log:
        process = subprocess.Popen(
            pinned(core, argv), stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=own_session
        )
    started.append(process)
    return process


def family(pid):
    """A process and all its descendants."""
    pids = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                for child in children.read().split():
                    pids += family(int(child))
    except OSError:
        pass
    return pids


def stop(process):
    if process.poll() is None:
        members = family(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_SECS)
        except subprocess.TimeoutExpired:
            pass
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        process.wait(STOP_LIMIT_SECS)
    started.remove(process)


def clean_up():
    for process in list(started):
        stop(process)
    shutil.rmtree(SCRATCH, ignore_errors=True)


atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, process, limit_secs=START_LIMIT_SECS):
    end = time.monotonic() + limit_secs
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{what}: not reached\n{log_tail(process)}")
        time.sleep(0.02)


def log_tail(process):
    tails = []
    for name in sorted(os.listdir(SCRATCH)):
        if name.endswith(".log") or name.endswith(".err"):
            with open(f"{SCRATCH}/{name}", errors="replace") as log:
                lines = log.read().splitlines()[-5:]
            tails += [f"  {name}: {line}" for line in lines]
    return "\n".join([f"exit code {process.poll()}", *tails])


def port_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def cpu_us(pid):
    """User and system microseconds of a process, its descendants and its reaped children, in steps of 10 ms."""
    user = system = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        user += (int(fields[11]) + int(fields[13])) * TICK_US
        system += (int(fields[12]) + int(fields[14])) * TICK_US
    return user, system


def pss_kib(pid):
    """Memory of a process and its descendants, pages that several share counted once."""
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/smaps_rollup") as rollup:
                total += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


def busy_us():
    """Microseconds that the cores of the lab were not idle."""
    total = 0
    with open("/proc/stat") as stat:
        for line in stat:
            if re.match(r"cpu\d", line) and int(line.split()[0][3:]) in CORES:
                fields = [int(field) for field in line.split()[1:9]]
                total += (sum(fields) - fields[3] - fields[4]) * TICK_US
    return total


def own_us():
    """Microseconds that the lab itself has used, with everything that it started."""
    total = sum(sum(cpu_us(process.pid)) for process in started)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += int((usage.ru_utime + usage.ru_stime) * 1e6)
    return total


def wait_for_quiet():
    """Waits until other work uses less than a fifth of a core, for a while: a busy machine is measured all the same."""
    end = time.monotonic() + QUIET_WAIT_SECS
    while True:
        with Window(None) as window:
            time.sleep(0.5)
        if window.foreign < 0.2 or time.monotonic() > end:
            return


class Window:
    """CPU of one process, and of work that is not ours, over a with-block."""

    def __init__(self, process):
        self.process = process

    def _cpu(self):
        return cpu_us(self.process.pid) if self.process else (0, 0)

    def __enter__(self):
        self.began = time.monotonic()
        self.before = (busy_us(), own_us(), self._cpu())
        return self

    def __exit__(self, *_):
        busy, own, (user, system) = self.before
        self.secs = time.monotonic() - self.began
        now_user, now_system = self._cpu()
        self.user_us, self.system_us = now_user - user, now_system - system
        self.cpu_us = self.user_us + self.system_us
        self.foreign = (busy_us() - busy - (own_us() - own)) / (self.secs * 1e6)
