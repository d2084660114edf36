"""What was counted stays counted, once, whatever becomes of a connection or of who asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from fault_proxy import FaultProxy
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.waiting import until

from apigateway.adapters.redis.keys import LEASES, QUOTA, Keys
from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Limit, Quota, StoreUnavailable

HERE = Path(__file__).parent
ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")
LONG = 31 * 86400.0
LIMIT = 1_000_000


def rule(algorithm: str = "sliding-window", key: str = "x") -> Limit:
    return Limit(f"test/api/a/limit/{key}", LIMIT, LONG, algorithm)


def store_of(one: Linked) -> Any:
    """Its calls answer later, or at once."""
    return RedisStore(one.link, "test")


async def used(store: Any, limit: Limit) -> int:
    return limit.limit - (await store.peek([limit])).standings[0].remaining  # type: ignore[no-any-return]


async def outcomes(asked: list[Any]) -> list[bool | None]:
    """Whether each was granted; None where nobody will ever know."""
    heard: list[bool | None] = []
    for one in asked:
        try:
            heard.append((await one).granted)
        except StoreUnavailable:
            heard.append(None)
    return heard


@pytest_twisted.async_yield_fixture
async def proxy(redis: RedisServer) -> Any:
    made = FaultProxy(redis.address, scheme="redis")
    yield made
    await made.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@ensureDeferred
async def test_a_command_whose_answer_is_lost_is_counted_once(
    linked: Any, redis: RedisServer, proxy: FaultProxy, algorithm: str
) -> None:
    cut, whole = await linked({"url": proxy.url, "timeout": "10s"}), await linked(redis.unix_url)
    store, other = store_of(cut), store_of(whole)
    assert (await store.take([rule(algorithm)])).granted
    for turn in range(1, 4):
        proxy.down.hole = True
        asked = [store.take([rule(algorithm)]) for _ in range(7)]
        # The server has them all: the one who waits hears of none.
        for _ in range(500):
            if await used(other, rule(algorithm)) == 1 + 7 * turn:
                break
        proxy.reset()
        proxy.down.hole = False
        assert await outcomes(asked) == [None] * 7
        await cut.connected()
        assert await used(other, rule(algorithm)) == 1 + 7 * turn
    assert (await store.take([rule(algorithm)])).standings[0].remaining == LIMIT - 23


@ensureDeferred
async def test_a_connection_that_is_cut_anywhere_counts_nothing_twice(
    linked: Any, redis: RedisServer, proxy: FaultProxy
) -> None:
    whole = await linked(redis.unix_url)
    cut = await linked({"url": proxy.url, "timeout": "10s"})
    store, other = store_of(cut), store_of(whole)
    for number in range(10):
        random, limit = Random(number), rule(key=f"cut-{number}")
        await cut.connected()
        pump = proxy.links[-1]
        assert pump.up is not None and pump.down is not None
        way, passed = random.choice(((proxy.up, pump.up.passed), (proxy.down, pump.down.passed)))
        way.reset_after = passed + random.randint(1, 1500 if way is proxy.up else 200)
        heard = await outcomes([store.take([limit]) for _ in range(12)])
        proxy.reset()
        way.reset_after = None
        await cut.without()
        counted = await used(other, limit)
        assert heard.count(True) <= counted <= 12, (number, heard)


@ensureDeferred
async def test_quotas_and_places_are_not_repeated_either(linked: Any, redis: RedisServer, proxy: FaultProxy) -> None:
    cut, whole = await linked({"url": proxy.url, "timeout": "10s"}), await linked(redis.unix_url)
    store, other = store_of(cut), store_of(whole)
    quota, capacity = Quota("test/api/a/quota/x", 9), Capacity("test/api/a/limit/running/x", 9)
    # Else it is the answer that the script is not known which is lost.
    await other.usage([quota])
    await other.lease([Capacity("test/api/a/limit/running/y", 9)], "one", 3600.0)
    proxy.down.hole = True
    asked = [store.consume([quota], 3), store.lease([capacity], "one", 3600.0)]
    names = [Keys("test").name(QUOTA, quota.key), Keys("test").name(LEASES, capacity.key)]
    await until(lambda: redis.command("EXISTS", *names) == 2, "the server has them")
    proxy.reset()
    proxy.down.hole = False
    assert await outcomes(asked) == [None, None]
    await cut.connected()
    assert [usage.used for usage in await other.usage([quota])] == [3]
    # Who never heard asks again, and has the place that it has.
    assert (await store.lease([capacity], "one", 3600.0)).standings[0].remaining == 8


def taker(server: RedisServer, limit: int) -> subprocess.Popen[bytes]:
    folders = [str(HERE), str(HERE.parent / "loopback"), str(HERE.parent.parent)]
    return subprocess.Popen(
        [sys.executable, str(HERE / "taker.py"), server.unix_url, rule().key, str(limit)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )


@ensureDeferred
async def test_nothing_is_lost_with_a_worker_that_is_killed(linked: Any, redis: RedisServer) -> None:
    store = store_of(await linked(redis.unix_url))
    takers = [taker(redis, LIMIT) for _ in range(3)]
    try:
        for count, one in enumerate(takers, start=1):
            assert one.stdout is not None
            assert one.stdout.readline() == b"granted\n", "it runs"
            for _ in range(200 * count):
                one.stdout.readline()
            one.send_signal(signal.SIGKILL)
    finally:
        told = [200 * count + 1 for count in (1, 2, 3)]
        for number, one in enumerate(takers):
            one.kill()
            assert one.stdout is not None
            told[number] += one.stdout.read().count(b"granted\n")
            one.stdout.close()
            one.wait()
    counted = await used(store, rule())
    # Of what each had asked for, and heard nothing of, there are no more than it asks for at once.
    assert sum(told) <= counted <= sum(told) + 3 * 16
