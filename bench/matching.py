"""What finding a request's route costs by itself, in microseconds, by the number of routes; prints it as JSON.

python -m bench.matching ROUTES[:ASKED]...

ASKED: how many of the routes the requests are for, all of them unless said.

The driver's own routing on exchanges of its own, so the targets of the requests are as different as the job's.
"""

from __future__ import annotations

import gc
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from zope.interface import implementer

from apigateway.flow.exchange import Exchange
from apigateway.ports.interfaces import IExchangeLog
from bench.job import requests
from bench.micro import World
from bench.peers.gateway import configuration
from bench.scenario import Scenario

EXCHANGES = 4096
ROUNDS = 9


@implementer(IExchangeLog)
class All:
    """A log that keeps every exchange."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def finished(self, exchange: Exchange) -> None:
        """See IExchangeLog."""
        self.exchanges.append(exchange)


def matcher(routes: int, asked: int, folder: Path) -> Callable[[], None]:
    """Finds the routes of all of the exchanges once."""
    file = folder / f"{routes}-{asked}.yaml"
    file.write_text(configuration(8080, (9001, 9002), "off", Scenario(routes=routes)))
    log = All()
    world = World(str(file), log)
    world.requests = itertools.cycle(requests(Scenario(routes=asked)))
    for _ in range(EXCHANGES):
        world.exchange()
    route, exchanges = world.driver.revision.route, log.exchanges

    def match() -> None:
        for exchange in exchanges:
            route(exchange)

    return match


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        matchers = {}
        for named in sys.argv[1:]:
            routes, _, asked = named.partition(":")
            matchers[named] = matcher(int(routes), int(asked or routes), Path(folder))
        gc.collect()
        gc.freeze()
        found: dict[str, list[float]] = {named: [] for named in matchers}
        for _ in range(ROUNDS):
            for named, match in matchers.items():
                began = time.perf_counter()
                match()
                found[named].append((time.perf_counter() - began) / EXCHANGES * 1e6)
    print(json.dumps({named: min(costs) for named, costs in found.items()}))


if __name__ == "__main__":
    main()
