"""CPU of a limit a client, beside what people use for it: in memory, with a store, and refusing.

A program and what it needs beside it (a store, a service) share core 0, and the CPU of both is counted.
"""
from statistics import median

from lab import load, peers, process, world

WARM_UP_SECS = 2
# Never reached: 64 connections do not send as much in a second.
UNREACHED = 10_000_000
# Reached at once.
SMALL = 100


class Contender:
    """A program, and what works beside it for the same requests."""

    def __init__(self, label, program, beside=None):
        self.label, self.program, self.beside = label, program, beside
        self.samples = []

    def measure(self, secs, clients):
        """Adds a sample: CPU of the program and of what is beside it, and calls to the store, all a request."""
        process.wait_for_quiet()
        calls, beside = self.store_calls(), self.beside_us()
        with process.Window(self.program.process) as window:
            counted = load.run_clients(self.program.port, secs, clients)
        requests = max(counted["requests"], 1)
        self.samples.append(
            {
                "cpu_us": window.cpu_us / requests,
                "beside_us": (self.beside_us() - beside) / requests,
                "calls": (self.store_calls() - calls) / requests * 1_000,
                "refused": counted["refused"] / requests,
                "rate": counted["requests"] / (counted["us"] / 1e6),
                "errors": counted["errors"],
                "foreign": window.foreign,
            }
        )

    def beside_us(self):
        return sum(process.cpu_us(self.beside.pid)) if self.beside else 0

    def store_calls(self):
        """Calls that headgate has made to its store, heartbeats left out."""
        if self.program.admin is None:
            return 0
        lines = self.program.metrics().splitlines()
        calls = [line for line in lines if line.startswith("headgate_store_calls_total") and "Join" not in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in calls)

    def row(self, base):
        """One line of a table; `base` is whom the ratio is taken to, round by round."""
        middle = {name: median(sample[name] for sample in self.samples) for name in self.samples[0]}
        pairs = zip(self.samples, base.samples)
        ratio = median((a["cpu_us"] + a["beside_us"]) / (b["cpu_us"] + b["beside_us"]) for a, b in pairs)
        errors = sum(sample["errors"] for sample in self.samples)
        return {**middle, "label": self.label, "ratio": ratio, "errors": errors}

    def stop(self):
        self.program.stop()
        if self.beside:
            self.beside.stop()


def start_store():
    port = process.free_port()
    argv = [peers.binary("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    return peers.start_beside("redis-server", argv, port)


def start_service(limit):
    port = process.free_port()
    argv = [peers.binary("limitador_service"), f"127.0.0.1:{port}", str(limit)]
    return peers.start_beside("limitador_service", argv, port)


def headgate(label, origin, limit, more, store=None):
    arguments = ["--state", f"redis://127.0.0.1:{store.port}"] if store else []
    program = peers.start_headgate(world.with_limit(origin.port, limit, more), arguments=arguments)
    return Contender(label, program, store)


def with_peers(contenders, origin, limit):
    """The limits in memory of nginx and Envoy, where they are installed."""
    if peers.binary("nginx"):
        program = peers.start_with("nginx", "nginx_limit.conf", ORIGIN=origin.port, LIMIT=limit)
        contenders.append(Contender("nginx, limit_req", program))
    if peers.binary("envoy"):
        program = peers.start_with("envoy", "envoy_limit.yaml", ORIGIN=origin.port, LIMIT=limit)
        contenders.append(Contender("Envoy, local limit", program))
    return contenders


def in_memory(origin):
    plain = peers.start_headgate(world.World(1, origin.port).folder)
    contenders = [Contender("headgate, no limit", plain), headgate("headgate", origin, UNREACHED, "scope: Proxy")]
    return with_peers(contenders, origin, UNREACHED)


def refusing(origin):
    return with_peers([headgate("headgate", origin, SMALL, "scope: Proxy")], origin, SMALL)


def shared(origin):
    contenders = [
        Contender("headgate, no limit", peers.start_headgate(world.World(1, origin.port).folder)),
        headgate("headgate, Eventual", origin, UNREACHED, "consistency: Eventual", start_store()),
        headgate("headgate, Strict", origin, UNREACHED, "consistency: Strict", start_store()),
    ]
    if peers.binary("nginx") and peers.has_lua():
        store = start_store()
        values = {"ORIGIN": origin.port, "LIMIT": UNREACHED, "STORE": store.port}
        contenders.append(Contender("nginx, Lua and Redis", peers.start_with("nginx", "nginx_store.conf", **values), store))
    if peers.binary("envoy") and peers.binary("limitador_service"):
        service = start_service(UNREACHED)
        values = {"ORIGIN": origin.port, "SERVICE": service.port}
        contenders.append(Contender("Envoy, limitador's library", peers.start_with("envoy", "envoy_service.yaml", **values), service))
    return contenders


def measure(start, clients, rounds, secs):
    """Rows of contenders, interleaved, ratio to the first."""
    origin = peers.start_origin()
    contenders = start(origin)
    for contender in contenders:
        load.run_clients(contender.program.port, WARM_UP_SECS, clients)
    for _ in range(rounds):
        for contender in contenders:
            contender.measure(secs, clients)
    rows = [contender.row(contenders[0]) for contender in contenders]
    for stopped in [*contenders, origin]:
        stopped.stop()
    return rows
