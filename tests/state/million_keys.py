"""A million callers in an hour, each with a key of his own: what a worker and a server hold of that. See docs/state.md.

python tests/state/million_keys.py [--keys N]; an hour passes on a clock of its own, ten seconds at a time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contract"), str(HERE.parent / "loopback"), str(HERE.parents[1])]

ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")
# Seconds: of the limits, of a step of the clock, and in all.
PERIODS = {"minute": 60.0, "hour": 3600.0}
STEP, HOUR = 10.0, 3600.0
AT_ONCE = 500
PAGE = 4096


def main() -> None:
    parser = argparse.ArgumentParser("million_keys", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--case", nargs=3, help="one store, algorithm and period, in this process")
    asked = parser.parse_args()
    if asked.case:
        one_case(*asked.case, asked.keys)
        return
    print(f"{'store':8}{'algorithm':18}{'per':8}{'keys at most':>14}{'server MB':>12}{'worker MB':>12}", flush=True)
    for store in ("redis", "memory"):
        for algorithm in ALGORITHMS:
            for period in PERIODS if store == "memory" else ("minute",):
                # Each in a process of its own, so that none finds the memory of another.
                case = [store, algorithm, period, "--keys", str(asked.keys)]
                subprocess.run([sys.executable, __file__, "--case", *case], check=True)


def one_case(store: str, algorithm: str, period: str, keys: int) -> None:
    """Prints its line; exit status 1 where it failed."""
    from apigateway.transport.reactor import install

    install()
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    found: list[Most] = []

    def begin() -> None:
        running = ensureDeferred((in_redis if store == "redis" else in_memory)(algorithm, PERIODS[period], keys))
        running.addCallbacks(found.append, lambda failure: failure.printTraceback())
        running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]

    reactor.callWhenRunning(begin)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    if not found:
        sys.exit(1)
    print(f"{store:8}{algorithm:18}{period:8}{found[0]}", flush=True)


class Most:
    """The most that there ever was."""

    def __init__(self) -> None:
        self.keys = self.server = self.worker = 0
        self._before = resident()

    def look(self, keys: int, server: int = 0) -> None:
        self.keys, self.server = max(self.keys, keys), max(self.server, server)
        self.worker = max(self.worker, resident() - self._before)

    def __str__(self) -> str:
        return f"{self.keys:14,}{self.server / 1e6:12.1f}{self.worker / 1e6:12.1f}"


async def in_redis(algorithm: str, period: float, keys: int) -> Most:
    from redis_server import RedisServer
    from subjects import BEGINS, AgingClock, link_to

    from apigateway.adapters.redis.store import RedisStore

    with RedisServer() as server:
        link = await link_to(server)
        clock = AgingClock(server, BEGINS)
        store = RedisStore(link.link, "default", simulated=clock.wall)
        before = int(server.info("used_memory"))
        most = await an_hour(
            store, clock, algorithm, period, keys,
            lambda most: most.look(server.command("DBSIZE"), int(server.info("used_memory")) - before),
        )
        link.remote.close()
        return most


async def in_memory(algorithm: str, period: float, keys: int) -> Most:
    from apigateway.ports.memory import ManualClock
    from apigateway.ports.memory_store import MemoryStore

    clock = ManualClock()
    store = MemoryStore(clock)
    return await an_hour(store, clock, algorithm, period, keys, lambda most: most.look(len(store)))


async def an_hour(
    store: Any, clock: Any, algorithm: str, period: float, keys: int, look: Callable[[Most], None]
) -> Most:
    """Each caller asks once; as many in each step as in any other."""
    from toolkit.waiting import together

    from apigateway.ports.interfaces import Limit

    most, steps = Most(), int(HOUR / STEP)
    for step in range(steps):
        callers = range(keys * step // steps, keys * (step + 1) // steps)
        for begin in range(callers.start, callers.stop, AT_ONCE):
            names = [
                f"default/api/users/rate-limit/consumer/ip:10.{one >> 16 & 255}.{one >> 8 & 255}.{one & 255}"
                for one in range(begin, min(begin + AT_ONCE, callers.stop))
            ]
            answers = [store.take([Limit(name, 100, period, algorithm)]) for name in names]
            if not isinstance(answers[0], tuple):
                await together(*answers)
        look(most)
        clock.advance(STEP)
    return most


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    main()
