"""Markdown from the figures, with the bar of each and whether it was met."""
import datetime
import os
import platform
import re
import subprocess

from lab import peers, process

# The targets that the figures are held against.
BAR_RATIO_TO_BARE = 1.15
BAR_RATIO_TO_ONE_ROUTE = 1.10
BAR_EDIT_P99_MS = 100
BAR_DECISION_NS = 1_000
NOISE_FOREIGN = 0.3


def table(head, rows):
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def verdict(met, sentence):
    return f"- {'met' if met else '**missed**'}: {sentence}"


def cpu_table(first, rows):
    head = [first, "CPU us/request", "user + system", "lowest to highest", "requests/s", "ratio", "errors", "foreign"]
    cells = [
        [
            row["label"],
            f"{row['cpu_us']:.1f}",
            f"{row['user_us']:.1f} + {row['system_us']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['rate']:,.0f}",
            f"{row['ratio']:.2f}",
            row["errors"],
            f"{row['foreign']:.2f}",
        ]
        for row in rows
    ]
    return table(head, cells)


def noisy(rows):
    if max(row["foreign"] for row in rows) > NOISE_FOREIGN:
        return ["- other work disturbed this table (foreign above 0.3 of a core): run it again before believing it"]
    return []


def plain_proxy(rows, rounds, secs):
    ratio = next(row["ratio"] for row in rows if row["label"] == "headgate")
    return [
        "## Plain proxy",
        f"1 KiB over 64 kept connections, {rounds} interleaved rounds of {secs} s, medians; ratio to bare_pingora.",
        cpu_table("program", rows),
        "\n".join(
            [
                verdict(ratio <= BAR_RATIO_TO_BARE, f"{ratio:.2f} x bare_pingora, bar {BAR_RATIO_TO_BARE}"),
                *noisy(rows),
            ]
        ),
    ]


def routes(rows, rounds, secs):
    worst = max(row["ratio"] for row in rows)
    return [
        "## Headgate with more routes",
        f"Each route has its own host, all hosts are visited; {rounds} interleaved rounds of {secs} s, medians.",
        cpu_table("routes", rows),
        "\n".join(
            [
                verdict(worst <= BAR_RATIO_TO_ONE_ROUTE, f"{worst:.2f} x one route, bar {BAR_RATIO_TO_ONE_ROUTE}"),
                *noisy(rows),
            ]
        ),
    ]


def edits(rows):
    head = ["routes", "files", "start ms", "p50 ms", "p99 ms", "worst ms", "CPU ms/edit", "bytes/batch", "batches"]
    head += ["failed", "old after new"]
    cells = [
        [
            f"{row['routes']:,}",
            row["files"],
            f"{row['start_ms']:.0f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['worst_ms']:.1f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['bytes_per_batch']:.0f}",
            f"{row['batches']:.0f}",
            row["failed"],
            row["regressed"],
        ]
        for row in rows
    ]
    slowest = max(row["p99_ms"] for row in rows if row["files"] == "many")
    sizes = [row["bytes_per_batch"] for row in rows]
    clean = all(row["failed"] == row["regressed"] == 0 for row in rows)
    return [
        "## From an edit to its enforcement",
        f"{rows[0]['edits']} edits of one route each, by atomic rename; fresh connections ask until the new answer arrives.",
        table(head, cells),
        "\n".join(
            [
                verdict(slowest < BAR_EDIT_P99_MS, f"p99 {slowest:.1f} ms at most, bar {BAR_EDIT_P99_MS} ms"),
                verdict(max(sizes) <= 1.1 * min(sizes), f"{min(sizes):.0f} to {max(sizes):.0f} bytes a batch, whatever the number of routes"),
                verdict(clean, "no answer failed, none was old after a new one"),
            ]
        ),
    ]


def memory(idle, rows):
    def mib(kib):
        return f"{kib / 1024:.1f}"

    def growth(row):
        return "" if row["kib_per_1000"] is None else f"{row['kib_per_1000']:.0f}"

    return [
        "## Memory",
        "PSS of the process tree; headgate in standalone is control plane and proxy in one process.",
        table(["program, one route, idle", "MiB"], [[row["label"], mib(row["idle_kib"])] for row in idle]),
        table(
            ["routes", "MiB", "MiB after 200 edits", "KiB per 1,000 routes"],
            [[f"{row['routes']:,}", mib(row["idle_kib"]), mib(row["edited_kib"]), growth(row)] for row in rows],
        ),
    ]


def instructions(counts):
    ratio = counts["headgate"] / counts["bare_pingora"]
    return [
        "## User-space instructions a request",
        "Counted by valgrind: other work on the machine cannot move them.",
        table(["program", "instructions"], [[name, f"{count:,.0f}"] for name, count in counts.items()]),
        f"- {ratio:.2f} x bare_pingora",
    ]


def limits(title, lead, rows):
    head = ["program", "CPU us/request", "beside it", "ratio of both", "store calls/1,000", "refused", "requests/s"]
    head += ["errors", "foreign"]
    cells = [
        [
            row["label"],
            f"{row['cpu_us']:.1f}",
            f"{row['beside_us']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['calls']:.1f}",
            f"{row['refused']:.0%}",
            f"{row['rate']:,.0f}",
            row["errors"],
            f"{row['foreign']:.2f}",
        ]
        for row in rows
    ]
    return [f"## {title}", lead, table(head, cells), *noisy(rows)]


def decisions(text):
    """What `limits` printed, and its bar."""
    last = text.strip().splitlines()[-1].strip("| ").split(" | ")
    slowest = max(float(last[1]), float(last[2]))
    return [
        "## One decision of a limit, in memory",
        "Nanoseconds, one thread, fastest of seven repeats, keys drawn at random; each library does its own hashing.",
        text.strip(),
        verdict(slowest <= BAR_DECISION_NS, f"{slowest:.0f} ns at a million keys, bar {BAR_DECISION_NS} ns"),
    ]


def machine():
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"^model name\s*: (.*)$", cpuinfo.read(), re.M)
    name = model.group(1) if model else platform.machine()
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{len(process.CORES)} cores of {name}, Linux {kernel}, {datetime.date.today()}"


def versions():
    """What runs beside headgate, in its own words."""
    told = []
    for name, flag in (("nginx", "-v"), ("haproxy", "-v"), ("envoy", "--version")):
        if peers.binary(name):
            answer = subprocess.run([peers.binary(name), flag], capture_output=True, text=True, check=True)
            told.append(f"{name} " + re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr).group(0))
    return ", ".join(told)


def document(sections):
    head = ["# Results of the last full run", f"{machine()}. {versions()}. How they are taken: [README.md](README.md)."]
    return "\n\n".join([*head, *[part for section in sections for part in section]]) + "\n"


def keep(text):
    path = os.path.join(peers.BENCH, "RESULTS.md")
    with open(path, "w") as out:
        out.write(text)
    return path
