"""The load: wrk with 64 kept connections, one thread, for a bounded time."""
import json
import os
import re
import subprocess

from lab import process

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "load")
CONNECTIONS = 64


def run(port, secs, hosts=1):
    """Requests for `hosts` different hosts in turn; returns what wrk counted. A status of 400 or more is an error."""
    return wrk(port, secs, "hosts.lua", {"HOSTS": hosts})


def run_clients(port, secs, clients):
    """Requests of `clients` different clients in turn; returns what wrk counted, refusals by themselves."""
    return wrk(port, secs, "clients.lua", {"CLIENTS": clients})


def wrk(port, secs, script, values):
    argv = [
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{secs}s", "-s", f"{HERE}/{script}",
        f"http://127.0.0.1:{port}/1k",
    ]  # fmt: skip
    result = subprocess.run(
        process.pinned(process.LOAD_CORE, argv),
        capture_output=True,
        text=True,
        timeout=secs + 30,
        preexec_fn=process.own_session,
        env={**os.environ, **{name: str(value) for name, value in values.items()}},
    )
    line = re.search(r"^JSON (.*)$", result.stdout, re.M)
    if not line:
        raise RuntimeError(result.stdout + result.stderr)
    return json.loads(line.group(1))
