"""Starts the origin and each program under test, every one with one worker thread and the same task."""
import glob
import os
import shutil
import urllib.error
import urllib.request

from lab import process, world

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(os.path.dirname(BENCH), "target")
BODY_BYTES = 1024
SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin"


def binary(name):
    """Where a peer's program is, None where it is not installed."""
    if name == "envoy":
        return next(iter(glob.glob(f"{BENCH}/.venv/lib/python3*/site-packages/envoy/_bin/envoy")), None)
    if name in ("headgate", "bare_pingora", "inner", "limits", "limitador_service"):
        path = f"{TARGET}/release/{name}"
        return path if os.path.exists(path) else None
    return shutil.which(name, path=SEARCHED)


def has_lua():
    """Whether nginx has the modules for a limit by Lua."""
    return bool(glob.glob("/usr/lib/nginx/modules/ngx_http_lua_module.so"))


def render(file, **values):
    """A peer's configuration with its `${…}` filled in; it may have $variables of its own."""
    with open(f"{BENCH}/peers/{file}") as template:
        text = template.read()
    for name, value in {"SCRATCH": process.SCRATCH, **values}.items():
        text = text.replace("${%s}" % name, str(value))
    stem, extension = os.path.splitext(file)
    path = f"{process.SCRATCH}/{stem}-{values['PORT']}{extension}"
    with open(path, "w") as out:
        out.write(text)
    return path


class Program:
    """A started program: its process, the port it answers on, and headgate's admin port."""

    def __init__(self, name, running, port, admin=None):
        self.name, self.process, self.port, self.admin = name, running, port, admin

    @property
    def pid(self):
        return self.process.pid

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def stop(self):
        process.stop(self.process)


def start_origin():
    port = process.free_port()
    config = render("origin.conf", PORT=port, BODY="x" * BODY_BYTES)
    argv = [binary("nginx"), "-p", process.SCRATCH, "-c", config]
    running = process.start("origin", argv, process.LOAD_CORE)
    process.wait_for("origin answers", lambda: process.port_open(port), running)
    return Program("origin", running, port)


def start(name, origin, wrapper=()):
    """A program with one route; `wrapper` is a command that runs it, valgrind for instance."""
    if name == "headgate":
        return start_headgate(world.World(1, origin.port).folder, wrapper)
    port = process.free_port()
    values = {"PORT": port, "ORIGIN": origin.port}
    if name == "nginx":
        argv = [binary(name), "-p", process.SCRATCH, "-c", render("nginx.conf", **values)]
    elif name == "haproxy":
        argv = [binary(name), "-db", "-f", render("haproxy.cfg", **values)]
    elif name == "envoy":
        argv = [binary(name), "-c", render("envoy.yaml", **values), "--concurrency", "1", "--disable-hot-restart"]
        argv += ["-l", "error"]
    elif name == "bare_pingora":
        argv = [binary(name), f"127.0.0.1:{port}", f"127.0.0.1:{origin.port}"]
    else:
        raise ValueError(name)
    running = process.start(name, [*wrapper, *argv])
    process.wait_for(f"{name} answers", lambda: process.port_open(port), running)
    return Program(name, running, port)


def start_with(name, config, **values):
    """nginx or Envoy with another configuration than the plain proxy's."""
    port = process.free_port()
    file = render(config, PORT=port, **values)
    if name == "nginx":
        argv = [binary(name), "-p", process.SCRATCH, "-c", file]
    else:
        argv = [binary(name), "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    running = process.start(name, argv)
    process.wait_for(f"{name} answers", lambda: process.port_open(port), running)
    return Program(name, running, port)


def start_beside(name, argv, port):
    """What a program needs beside it, a store for instance, on the same core: it does part of the same work."""
    running = process.start(name, argv)
    process.wait_for(f"{name} answers", lambda: process.port_open(port), running)
    return Program(name, running, port)


def start_headgate(folder, wrapper=(), arguments=()):
    port, admin = process.free_port(), process.free_port()
    argv = [*wrapper, binary("headgate"), "standalone", "-f", folder, "--listen", f"127.0.0.1:{port}"]
    argv += ["--admin", f"127.0.0.1:{admin}", "--data-dir", f"{process.SCRATCH}/data-{port}", *arguments]
    running = process.start("headgate", argv)
    process.wait_for("headgate is ready", lambda: ready(admin), running)
    return Program("headgate", running, port, admin)


def ready(admin):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False
