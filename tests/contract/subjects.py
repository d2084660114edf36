"""The stores that the contract tests are run with. A store joins by one more entry in STORES, and runs through all of
them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linking import Linked
from redis_server import RedisServer

from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Decision, Limit
from apigateway.ports.memory import ManualClock, MemoryStore

# A multiple of every period used, so that a fixed window begins with the test.
BEGINS = 1_700_000_400.0

# Takes so many milliseconds from what every key still has.
_AGE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key) - tonumber(ARGV[1])
  if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
end
"""


@dataclass
class Subject:
    """A store, how long its second is, and how time passes for it. Every duration of the tests is a multiple of that
    second; where the store's keys end by a clock that cannot be stopped, it is longer than any test.
    """

    store: Any
    second: float
    advance: Callable[[float], Any]

    def limit(
        self, units: int, seconds: float = 10.0, algorithm: str = "sliding-window", key: str = "k"
    ) -> Limit:
        return Limit(key, units, seconds * self.second, algorithm)

    async def take(self, *limits: Limit, cost: int = 1) -> Decision:
        return await settled(self.store.take(limits, cost))

    async def granted(self, *limits: Limit, times: int) -> int:
        """How many of so many single takes are granted."""
        return sum([(await self.take(*limits)).granted for _ in range(times)])

    async def lease(self, holder: str, *capacities: Capacity, seconds: float = 10.0) -> Decision:
        return await settled(self.store.lease(capacities, holder, seconds * self.second))

    async def passes(self, seconds: float) -> None:
        await settled(self.advance(seconds * self.second))


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def in_memory() -> Subject:
    clock = ManualClock(wall=BEGINS)
    return Subject(MemoryStore(clock), 1.0, clock.advance)


class AgingClock(ManualClock):
    """A clock whose time passes for the keys of a server, too."""

    def __init__(self, server: RedisServer, wall: float) -> None:
        super().__init__(wall=wall)
        self._server = server

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._server.command("EVAL", _AGE, 0, round(seconds * 1000))


def in_redis(linked: Linked, server: RedisServer) -> Subject:
    clock = AgingClock(server, BEGINS)
    store = RedisStore(linked.link, "test", simulated=clock.wall)
    return Subject(store, 60.0, clock.advance)


async def link_to(server: RedisServer) -> Linked:
    """A busy machine may take longer than a decision should."""
    return await Linked({"url": server.unix_url, "timeout": "10s"}).start()


STORES = ("memory", "redis")
