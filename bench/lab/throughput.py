"""CPU microseconds a request at saturation, in interleaved rounds (A B C A B C), medians over the rounds.

CPU a request is user + system time of the whole process tree divided by the requests that the load generator counted.
On a shared machine it is the steadiest figure, and the ratio of two programs within one run steadier still.
"""
from statistics import median

from lab import load, peers, process, world

WARM_UP_SECS = 1


class Sample:
    """One window of one program."""

    def __init__(self, window, counted):
        requests = max(counted["requests"], 1)
        self.cpu_us = window.cpu_us / requests
        self.user_us = window.user_us / requests
        self.system_us = window.system_us / requests
        self.rate = counted["requests"] / (counted["us"] / 1e6)
        self.errors = counted["errors"]
        self.foreign = window.foreign


def interleaved(programs, hosts_of, rounds, secs):
    """Samples by program, in rounds over all of them."""
    samples = {program: [] for program in programs}
    for program in programs:
        load.run(program.port, WARM_UP_SECS, hosts_of[program])
    for _ in range(rounds):
        for program in programs:
            process.wait_for_quiet()
            with process.Window(program.process) as window:
                counted = load.run(program.port, secs, hosts_of[program])
            samples[program].append(Sample(window, counted))
    return samples


def row(label, samples, base):
    """One line of a table; `base` is the samples that the ratio is taken to, round by round."""
    ratio = median(mine.cpu_us / theirs.cpu_us for mine, theirs in zip(samples, base))
    return {
        "label": label,
        "cpu_us": median(sample.cpu_us for sample in samples),
        "user_us": median(sample.user_us for sample in samples),
        "system_us": median(sample.system_us for sample in samples),
        "low": min(sample.cpu_us for sample in samples),
        "high": max(sample.cpu_us for sample in samples),
        "rate": median(sample.rate for sample in samples),
        "ratio": ratio,
        "errors": sum(sample.errors for sample in samples),
        "foreign": median(sample.foreign for sample in samples),
    }


def against_peers(names, rounds, secs):
    """The plain proxy beside its peers, ratio to the smallest Pingora proxy."""
    origin = peers.start_origin()
    programs = [peers.start(name, origin) for name in names]
    samples = interleaved(programs, {program: 1 for program in programs}, rounds, secs)
    base = next(program for program in programs if program.name == "bare_pingora")
    rows = [row(program.name, samples[program], samples[base]) for program in programs]
    for program in [*programs, origin]:
        program.stop()
    return rows


def over_routes(counts, rounds, secs):
    """Headgate with more and more routes, all of them visited, ratio to the fewest."""
    origin = peers.start_origin()
    programs = {count: peers.start_headgate(world.World(count, origin.port).folder) for count in counts}
    hosts_of = {program: count for count, program in programs.items()}
    samples = interleaved(list(programs.values()), hosts_of, rounds, secs)
    base = samples[programs[min(counts)]]
    rows = [row(f"{count:,}", samples[programs[count]], base) for count in counts]
    for program in [*programs.values(), origin]:
        program.stop()
    return rows
