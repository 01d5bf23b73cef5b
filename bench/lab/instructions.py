"""User-space instructions a request, counted by valgrind: other work on the machine cannot move them.

A program runs twice, under a short load and under a longer one; the difference of instructions divided by the
difference of requests leaves start and stop out.
"""
import os
import re
import shutil

from lab import load, peers, process

LOAD_SECS = (2, 10)


def available():
    return shutil.which("valgrind") is not None


def per_request(name):
    points = [counted(name, secs) for secs in LOAD_SECS]
    (short_requests, short_count), (long_requests, long_count) = points
    return (long_count - short_count) / (long_requests - short_requests)


def counted(name, secs):
    """Requests served and instructions executed in one run."""
    log = f"{process.SCRATCH}/callgrind-{name}-{secs}"
    wrapper = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]
    origin = peers.start_origin()
    program = peers.start(name, origin, wrapper)
    load.run(program.port, 1)
    requests = load.run(program.port, secs)["requests"]
    program.stop()
    origin.stop()
    with open(log) as report:
        executed = re.search(r"Collected : (\d+)", report.read())
    os.remove(log)
    return requests, int(executed.group(1))
