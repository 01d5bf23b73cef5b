"""Memory of routes: PSS of the whole process, which in standalone holds files, control plane and proxy."""
import time

from lab import edits, peers, process, world

SETTLE_SECS = 2
EDITS = 200


def settled_kib(program):
    """PSS once start-up's garbage had time to go."""
    time.sleep(SETTLE_SECS)
    return process.pss_kib(program.pid)


def of_routes(counts):
    """Idle, and after edits one by one; growth a thousand routes is taken from the smallest count."""
    rows = []
    for count in counts:
        origin = peers.start_origin()
        manifests = world.World(count, origin.port)
        program = peers.start_headgate(manifests.folder)
        idle_kib = settled_kib(program)
        for edit in range(EDITS):
            index = edit % count
            manifests.prepare(index, edit)()
            edits.until_enforced(program.port, index, edit)
        rows.append({"routes": count, "idle_kib": idle_kib, "edited_kib": settled_kib(program)})
        program.stop()
        origin.stop()
    fewest = min(rows, key=lambda row: row["routes"])
    for row in rows:
        thousands = (row["routes"] - fewest["routes"]) / 1000
        row["kib_per_1000"] = (row["idle_kib"] - fewest["idle_kib"]) / thousands if thousands else None
    return rows


def idle(names):
    """The programs beside each other with one route and no traffic."""
    origin = peers.start_origin()
    rows = []
    for name in names:
        program = peers.start(name, origin)
        rows.append({"label": name, "idle_kib": settled_kib(program)})
        program.stop()
    origin.stop()
    return rows
