"""The hot path without sockets: microseconds of one exchange from the client's octets to the answer's.

A Downstream and an UpstreamConnection on transports that only take what is written, with the job of the other
benchmarks; the worker's real driver, metrics and access log. What is left out is the kernel and the loop.

python -m bench.micro [FILE] [--profile] [--calls] [--parts]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import itertools
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from apigateway.adapters.access_log import AccessLog
from apigateway.adapters.metrics import Metrics
from apigateway.adapters.system import SystemClock, SystemRandom
from apigateway.checking import Parts, check_file
from apigateway.dataplane.deployment import Deployment, Means
from apigateway.dataplane.downstream import Downstream
from apigateway.dataplane.driver import WorkerDriver
from apigateway.dataplane.listener import Listener
from apigateway.dataplane.names import Names
from apigateway.flow.exchange import Exchange
from apigateway.flow.services import Shared
from apigateway.ports.interfaces import IExchangeLog
from apigateway.ports.memory import ListedEvents, ListedNames, ManualClock, ManualTimers, MemoryStore
from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.ipset import IpSet
from apigateway.wire.message import Request, Response
from bench.job import BODY, requests, response_octets
from bench.peers.gateway import configuration

ROUNDS = 7
TIMES = 5000


class Transport:
    """Takes what is written, and tells `asked`."""

    def __init__(self, asked: Callable[[], Any]) -> None:
        self._asked = asked

    def write(self, data: bytes) -> None:
        self._asked()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 40000)

    getHost = getPeer

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass

    abortConnection = loseConnection


class NoFile:
    """The access log's sink, without the file."""

    lost = 0
    trouble = ""

    def write(self, octets: bytes, lines: int = 1) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(IExchangeLog)
class Kept:
    """A log that keeps the last exchange."""

    def finished(self, exchange: Exchange) -> None:
        self.exchange = exchange


class World:
    """One client's connection to a gateway, and the upstream connections it comes to have.

    log: told of each exchange instead of metrics and access log.
    """

    requests = itertools.cycle(requests())
    response = response_octets()

    def __init__(self, file: str, log: IExchangeLog | None = None) -> None:
        clock, timers = SystemClock(), ManualTimers(ManualClock())
        events, self.metrics = ListedEvents(), Metrics()
        checked = check_file(file, parts=Parts(metrics=self.metrics))
        if checked.draft is None or checked.configuration is None or not checked.ok:
            sys.exit("\n".join(map(str, checked.problems)))
        self._asked: list[Any] = []
        self._opened: list[tuple[Deferred[Any], Any]] = []
        means = Means(
            clock=clock, random=SystemRandom(), timers=timers, store=MemoryStore(clock), events=events,
            metrics=self.metrics, shared=Shared(), connect=self._connect, turn=lambda: succeed(None),
            names=Names(ListedNames({}), timers, clock.monotonic, events, 300.0), hide_in_logs=lambda name: None,
        )
        deployment = Deployment(means, checked.configuration, checked.draft, "bench")
        live: list[Any] = []
        Deferred.fromCoroutine(deployment.build(lambda: self.driver)).addCallback(live.append)
        self.access_log = AccessLog(NoFile(), timers, clock)
        logs = (self.metrics, self.access_log) if log is None else (log,)
        self.driver = WorkerDriver(live[0], clock, means.random, timers, events, self.metrics, logs)
        listener = Listener(
            checked.configuration.listeners[0], self.driver, timers, clock.monotonic,
            IpSet(checked.configuration.trusted_proxies),
        )
        self.limits = listener.limits
        self.client = Downstream(listener)
        self.client.makeConnection(Transport(lambda: None))

    def _connect(self, address: object, factory: Any, *rest: object) -> Deferred[Any]:
        connection = factory.buildProtocol(None)
        connection.makeConnection(Transport(lambda: self._asked.append(connection)))
        opened: Deferred[Any] = Deferred()
        self._opened.append((opened, connection))
        return opened

    def exchange(self) -> None:
        """One request, to the end of its answer."""
        self.client.dataReceived(next(self.requests))
        while self._opened:
            opened, connection = self._opened.pop()
            opened.callback(connection)
        self._asked.pop().dataReceived(self.response)


def best(work: Callable[[], Any], times: int = TIMES) -> float:
    """Microseconds of one call, in the best of several rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - began) / times * 1e6)
    return min(found)


def parts(file: str) -> dict[str, Callable[[], Any]]:
    """What an exchange is made of, each by itself."""
    kept = Kept()
    world = World(file, kept)
    world.exchange()
    exchange = kept.exchange
    request: Request = Http1Server(world.limits).feed(next(world.requests))[0]  # type: ignore[assignment]
    answer = Response(200, Headers([(b"server", b"nginx"), (b"content-type", b"application/json")]), length=len(BODY))
    server, client = Http1Server(world.limits), Http1Client(world.limits)
    revision = world.driver.revision

    def serve() -> None:
        server.feed(next(world.requests))
        server.send_head(answer)
        server.send_data(BODY.encode())
        server.send_end()
        server.next_request()

    def ask() -> None:
        client.send_head(request, target=request.target, host=b"127.0.0.1:9001")
        client.send_end()
        client.feed(world.response)

    return {
        "wire, client's side": serve, "wire, upstream's side": ask, "routing": lambda: revision.route(exchange),
        "access log": lambda: world.access_log.finished(exchange), "metrics": lambda: world.metrics.finished(exchange),
    }


def profiled(world: World, times: int) -> cProfile.Profile:
    """So many exchanges under the profiler."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(times):
        world.exchange()
    profile.disable()
    return profile


def calls(world: World, times: int = 1000) -> float:
    """Functions called per exchange, those written in C too."""
    return float(sum(entry.callcount for entry in profiled(world, times).getstats())) / times


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description="Cost of one exchange without sockets.")
    parser.add_argument("file", nargs="?", help="a configuration; else the one of bench.plain")
    parser.add_argument("--parts", action="store_true", help="what the parts cost by themselves")
    parser.add_argument("--calls", action="store_true", help="functions called per exchange")
    parser.add_argument("--profile", action="store_true", help="the profiler's table (its figures are not costs)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        own = Path(folder) / "gateway.yaml"
        own.write_text(configuration(8080, (9001, 9002), "off"))
        show(arguments.file or str(own), arguments)


def show(file: str, arguments: argparse.Namespace) -> None:
    """Measure what was asked for, and print it."""
    world = World(file)
    try:
        world.exchange()
    except IndexError:
        sys.exit("the first request of the job went to no upstream: it wants routes below /service-01 and the like")
    gc.collect()
    print(f"{best(world.exchange):7.1f} us  one exchange")
    if arguments.parts:
        for name, work in parts(file).items():
            print(f"{best(work):7.1f} us  {name}")
    if arguments.calls:
        print(f"{calls(world):7.0f}     functions called per exchange, those in C too")
    if arguments.profile:
        pstats.Stats(profiled(world, 20_000)).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
