"""From an edit on disk to the first answer that it governs.

One route of N is edited by an atomic rename; fresh connections ask for its host without pause until an answer carries
the edit. The time ends when that answer has arrived, so one request's time is part of it. Pauses between edits are of
random length, so that no timer of the program under test falls into step with them.
"""
import random
import re
import socket
import time

from lab import peers, process, world

LIMIT_SECS = 20
PAUSE_SECS = (0.03, 0.15)
# Asked after the first new answer: an old one now would mean that two configurations were in force.
CONFIRMATIONS = 3
# Edits for the CPU figure, long enough apart that each is over before the next.
QUIET_EDITS = 20
QUIET_EDIT_BASE = 1_000_000
SETTLE_SECS = 0.4


def ask(port, host):
    """One request on a connection of its own; status and the value of the edit's header."""
    request = f"GET /1k HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request.encode())
        while part := connection.recv(65536):
            answer += part
    status = re.match(rb"HTTP/1\.\d (\d+)", answer)
    edit = re.search(rb"\r\nbench-edit: (\d+)\r\n", answer, re.I)
    return int(status.group(1)) if status else 0, int(edit.group(1)) if edit else None


def applied(program):
    """Batches, and bytes of all batches, that the proxy has applied so far."""
    metrics = program.metrics()
    return tuple(
        float(re.search(rf"^{name} (\S+)$", metrics, re.M).group(1))
        for name in ("headgate_plans_applied_total", "headgate_batch_bytes_total")
    )


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(routes, files, edits):
    """`edits` edits of random routes among `routes`, which lie in `many` files or in `one`."""
    origin = peers.start_origin()
    manifests = world.World(routes, origin.port, files)
    began = time.monotonic()
    program = peers.start_headgate(manifests.folder)
    start_ms = (time.monotonic() - began) * 1e3
    chance = random.Random(routes)
    before = applied(program)
    took_ms, failed, regressed = [], 0, 0
    for edit in range(edits):
        index = chance.randrange(routes)
        rename = manifests.prepare(index, edit)
        time.sleep(chance.uniform(*PAUSE_SECS))
        began = time.monotonic()
        rename()
        failed += until_enforced(program.port, index, edit)
        took_ms.append((time.monotonic() - began) * 1e3)
        for _ in range(CONFIRMATIONS):
            status, seen = ask(program.port, world.host(index))
            failed += status != 200
            regressed += seen != edit
    batches, batch_bytes = (now - then for now, then in zip(applied(program), before))
    processor_ms = cpu_of_an_edit(program, manifests, chance)
    program.stop()
    origin.stop()
    return {
        "routes": routes,
        "files": files,
        "edits": edits,
        "start_ms": start_ms,
        "p50_ms": percentile(took_ms, 0.50),
        "p99_ms": percentile(took_ms, 0.99),
        "worst_ms": max(took_ms),
        "cpu_ms": processor_ms,
        "bytes_per_batch": batch_bytes / max(batches, 1),
        "batches": batches,
        "failed": failed,
        "regressed": regressed,
    }


def until_enforced(port, index, edit):
    """Asks without pause until the answer carries the edit; returns how many answers were not 200."""
    end = time.monotonic() + LIMIT_SECS
    failed = 0
    while True:
        status, seen = ask(port, world.host(index))
        failed += status != 200
        if seen == edit:
            return failed
        if time.monotonic() > end:
            raise RuntimeError(f"edit {edit} of route {index} was not enforced within {LIMIT_SECS} s")


def cpu_of_an_edit(program, manifests, chance):
    """CPU milliseconds of one edit, from edits that nobody asks about before they are over."""
    with process.Window(program.process) as window:
        for edit in range(QUIET_EDITS):
            index = chance.randrange(len(manifests.texts))
            manifests.prepare(index, QUIET_EDIT_BASE + edit)()
            time.sleep(SETTLE_SECS)
    failed = until_enforced(program.port, index, QUIET_EDIT_BASE + QUIET_EDITS - 1)
    if failed:
        raise RuntimeError("an answer failed after an edit")
    return window.cpu_us / 1e3 / QUIET_EDITS
