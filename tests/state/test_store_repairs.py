"""RC-O26: no key without an end, and none that locks anybody out; whoever else wrote to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer

from apigateway.adapters.redis.keys import ALGORITHMS, LEASES, QUOTA, VALUE, Keys
from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Limit, Quota
from apigateway.ports.memory import ManualClock

KEY = "test/api/a/step/x"
DAY = 86400.0
NOW = 1_700_000_000.0

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture
def clock() -> ManualClock:
    """Of the store."""
    return ManualClock(wall=NOW)


@pytest_twisted.async_yield_fixture
async def store(redis: RedisServer, clock: ManualClock) -> Any:
    """At simulated times."""
    linked = await Linked({"url": redis.unix_url, "timeout": "10s"}).start()
    yield RedisStore(linked.link, "test", clock.wall)
    linked.remote.close()


def rule(algorithm: str, limit: int = 3, period: float = 10.0) -> Limit:
    return Limit(KEY, limit, period, algorithm)


def name_of(limit: Limit) -> bytes:
    return Keys("test").name(f"{ALGORITHMS[limit.algorithm]}{limit.period:g}", limit.key)


def left(redis: RedisServer, name: bytes) -> float:
    """Seconds until a key ends; -1 for never, -2 for one that is not there."""
    milliseconds = redis.command("PTTL", name)
    return milliseconds / 1000 if milliseconds >= 0 else float(milliseconds)


async def granted(store: Any, limit: Limit, times: int) -> int:
    return [(await store.take([limit])).granted for _ in range(times)].count(True)


#: What others may have left under a key of ours.
FOREIGN: dict[str, Callable[[bytes], list[tuple[Any, ...]]]] = {
    "the value 7": lambda name: [("SET", name, "7")],
    "an empty value": lambda name: [("SET", name, "")],
    "two words": lambda name: [("SET", name, "many some")],
    "huge figures": lambda name: [("SET", name, "9" * 400 + " " + "9" * 400)],
    "not a number": lambda name: [("SET", name, "nan nan")],
    "infinity": lambda name: [("SET", name, "inf inf")],
    "octets": lambda name: [("SET", name, b"\x00\xff\r\n")],
    "a hash": lambda name: [("HSET", name, "a", "b")],
    "a set": lambda name: [("SADD", name, "a")],
    "a sorted set": lambda name: [("ZADD", name, 1, "a")],
    "a stream": lambda name: [("XADD", name, "*", "a", "b")],
    "a list of words": lambda name: [("RPUSH", name, "a", "b", "c")],
    "a list of figures": lambda name: [("RPUSH", name, "1", "2", "3")],
    "a list that says too much": lambda name: [("RPUSH", name, "9" * 30 + " 5 1 5")],
    "a list whose slots are not there": lambda name: [("RPUSH", name, "170000000000 1 1 900")],
    "a list of odd slots": lambda name: [("RPUSH", name, "x", "169999999999", "5", "170000000000 1 169999999000 6")],
}  # fmt: skip


@each_algorithm
@pytest.mark.parametrize("foreign", FOREIGN)
@ensureDeferred
async def test_a_counter_that_is_none_is_begun_anew(
    store: Any, redis: RedisServer, clock: ManualClock, algorithm: str, foreign: str
) -> None:
    limit = rule(algorithm)
    redis.commands(FOREIGN[foreign](name_of(limit)))
    assert (await store.peek([limit])).standings[0].remaining <= 3
    clock.advance(11.0)
    assert await granted(store, limit, 5) == 3
    assert 0 < left(redis, name_of(limit)) < 13.0


@each_algorithm
@ensureDeferred
async def test_a_counter_without_an_end_gets_one_back(
    store: Any, redis: RedisServer, clock: ManualClock, algorithm: str
) -> None:
    limit = rule(algorithm)
    assert await granted(store, limit, 3) == 3
    redis.command("PERSIST", name_of(limit))
    assert await granted(store, limit, 1) == 0
    assert 0 < left(redis, name_of(limit)) < 13.0
    redis.command("PERSIST", name_of(limit))
    clock.advance(11.0)
    assert await granted(store, limit, 5) == 3
    assert 0 < left(redis, name_of(limit)) < 13.0


@each_algorithm
@ensureDeferred
async def test_a_counter_that_is_looked_at_is_not_written(store: Any, redis: RedisServer, algorithm: str) -> None:
    limit = rule(algorithm)
    assert (await store.peek([limit])).granted
    assert (await store.take([limit], 0)).granted
    assert redis.command("KEYS", "*") == [name for name in redis.command("KEYS", "*") if b"{probe}" in name]
    redis.commands(FOREIGN["a stream"](name_of(limit)))
    await store.peek([limit])
    assert redis.command("TYPE", name_of(limit)) == b"stream"


@each_algorithm
@ensureDeferred
async def test_the_server_s_clock_may_go_back(
    store: Any, redis: RedisServer, clock: ManualClock, algorithm: str
) -> None:
    """By little, as where another server takes over, it grants nothing more; by much, nobody has to wait for that."""
    limit = rule(algorithm)
    clock.set_wall(NOW + 0.2)
    assert await granted(store, limit, 3) == 3
    clock.set_wall(NOW - 0.2)
    assert await granted(store, limit, 3) == 0
    clock.set_wall(NOW - 3600.0)
    assert await granted(store, limit, 5) == 3


@pytest.mark.parametrize("foreign", FOREIGN)
@ensureDeferred
async def test_leases_quotas_and_values_likewise(store: Any, redis: RedisServer, foreign: str) -> None:
    keys = Keys("test")
    leases, quota, value = (keys.name(kind, KEY) for kind in (LEASES, QUOTA, VALUE))
    for name in (leases, quota, value):
        redis.commands(FOREIGN[foreign](name))
    capacity, window = Capacity(KEY, 2), Quota(KEY, 2, (NOW - 5.0, NOW + 5.0, NOW + 15.0))
    await store.release([KEY], "nobody")
    await store.renew([KEY], ["nobody"], 10.0)
    assert [(await store.lease([capacity], f"h{number}", 10.0)).granted for number in range(3)] == [True, True, False]
    assert [usage.used for usage in await store.usage([window])] == [0]
    assert [(await store.consume([window])).granted for _ in range(3)] == [True, True, False]
    assert await store.add(KEY, b"mine", 10.0) is True
    assert await store.get(KEY) == b"mine"
    for name, most in ((leases, 11.0), (quota, 65.0), (value, 10.0)):
        assert 0 < left(redis, name) <= most, name


@ensureDeferred
async def test_a_value_without_an_end_is_nobody_s(store: Any, redis: RedisServer) -> None:
    name = Keys("test").name(VALUE, KEY)
    redis.command("SET", name, "old")
    assert await store.swap(KEY, b"old", b"new", 10.0) is False
    assert await store.swap(KEY, None, b"new", 10.0) is True
    redis.command("DEL", name)
    redis.command("RPUSH", name, "x")
    assert await store.get(KEY) is None
    await store.put(KEY, b"new", 10.0)
    assert await store.get(KEY) == b"new"
    assert 0 < left(redis, name) <= 10.0


@ensureDeferred
async def test_a_quota_that_is_never_renewed_counts(store: Any, redis: RedisServer) -> None:
    """RC-O26, second."""
    never = Quota(KEY, 5)
    assert [(await store.consume([never])).granted for _ in range(7)] == [True] * 5 + [False] * 2
    name = Keys("test").name(QUOTA, KEY)
    assert 399 * DAY < left(redis, name) <= 400 * DAY
    for harm in (("PERSIST", name), ("PEXPIRE", name, 200 * 86400 * 1000)):
        redis.command(*harm)
        assert not (await store.consume([never])).granted  # a refusal is a use, too
        assert 399 * DAY < left(redis, name) <= 400 * DAY


@ensureDeferred
async def test_a_window_that_is_over_is_forgotten(store: Any, redis: RedisServer, clock: ManualClock) -> None:
    name = Keys("test").name(QUOTA, KEY)
    edges = tuple(NOW + 3600.0 * hour for hour in range(100))
    for hour in range(99):
        for _ in range(2):
            await store.consume([Quota(KEY, 5, edges[max(0, hour - 1) : hour + 3])])
        clock.advance(3600.0)
        assert redis.command("HLEN", name) <= 2  # one is kept for a minute
        assert 0 < left(redis, name) <= 3661.0


@ensureDeferred
async def test_a_long_window_outlives_a_short_one_of_the_same_name(store: Any, redis: RedisServer) -> None:
    month = Quota(KEY, 5, (NOW - DAY, NOW + 30 * DAY, NOW + 60 * DAY))
    await store.consume([month])
    await store.consume([Quota(KEY, 5, (NOW - 5.0, NOW + 5.0, NOW + 15.0))])
    assert left(redis, Keys("test").name(QUOTA, KEY)) > 29 * DAY
    assert [usage.used for usage in await store.usage([month])] == [1]
