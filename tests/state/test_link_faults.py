"""A server that fails in every way: nobody waits long, nothing is kept for it, and it is used again when it is back."""

from __future__ import annotations

import gc
import time
from collections import Counter
from typing import Any

import pytest
from fault_proxy import FaultProxy
from linking import COUNT, Linked
from pytest_twisted import async_yield_fixture, ensureDeferred
from redis_server import RedisServer
from resp_server import RespServer, always, to
from toolkit.garbage import garbage, no_collector
from toolkit.waiting import reactor, together, turn, until

from apigateway.adapters.redis import keeping
from apigateway.adapters.redis.connection import MOST_UNREAD
from apigateway.ports.interfaces import StoreUnavailable

__all__ = ["no_collector"]

# What a decision may take at most is 50 ms. On a busy machine a turn of the loop takes as long, so that of many
# decisions most are looked at, and all of them have to be far from any timeout of the kernel's or of a test's.
WAITED = 0.05
NEVER = 0.5
# From the return of the server.
RECOVERY = 2.0
DECISIONS = 40
KEY = b"apigateway:test:{k}:n"


async def decisions(one: Linked, number: int = DECISIONS) -> list[Any]:
    """So many, one after the other: their results. Checks what they took."""
    results, seconds = [], []
    for _ in range(number):
        result, took = await one.decide()
        results.append(result)
        seconds.append(took)
    seconds.sort()
    assert seconds[len(seconds) * 3 // 4] < WAITED, seconds
    assert seconds[-1] < NEVER, seconds
    return results


def quick(url: str) -> dict[str, str]:
    """With the timeout that there is unless another one is given."""
    return {"url": url}


async def works(one: Linked) -> None:
    """It counts. On a busy machine an answer may be late now and then."""
    await until(lambda: one.link.connected, lambda: one.link.why)
    for _ in range(50):
        if isinstance((await one.decide())[0], int):
            return
        await turn(0.05)
    raise AssertionError(one.link.why)


async def is_back(one: Linked) -> None:
    """It is used again, in time, and counts."""
    began = reactor.seconds()
    await one.connected(within=RECOVERY + NEVER)
    assert reactor.seconds() - began < RECOVERY + NEVER
    await works(one)


@async_yield_fixture
async def server() -> Any:
    """One that a test may harm."""
    with RedisServer() as made:
        yield made


@async_yield_fixture
async def proxy(server: RedisServer) -> Any:
    """What stands between, and may fail."""
    made = FaultProxy(server.address, scheme="redis")
    yield made
    await made.close()


@ensureDeferred
async def test_refused_from_the_start(linked: Any, server: RedisServer) -> None:
    server.kill()
    one = await linked(server.url)
    assert not one.link.connected
    assert all(isinstance(result, str) for result in await decisions(one))
    assert one.link.counts.without == DECISIONS
    server.start()
    await is_back(one)


@ensureDeferred
async def test_killed_and_restarted_empty(linked: Any, server: RedisServer) -> None:
    one = await linked(server.url)
    assert (await decisions(one))[-1] == DECISIONS
    server.kill()
    assert all(isinstance(result, str) for result in (await decisions(one))[3:])
    server.start()
    began = reactor.seconds()
    await one.connected(within=RECOVERY + NEVER)
    # Empty, without the script: counted from the start, each once.
    assert await decisions(one) == list(range(1, DECISIONS + 1))
    assert reactor.seconds() - began < RECOVERY + NEVER + DECISIONS * NEVER


@ensureDeferred
async def test_frozen(linked: Any, server: RedisServer) -> None:
    one = await linked(quick(server.url))
    await works(one)
    before = one.link.counts.late
    server.freeze()
    results = await decisions(one)
    assert all(isinstance(result, str) for result in results)
    assert 1 <= one.link.counts.late - before <= 3
    assert one.link.counts.without >= DECISIONS - 3
    server.thaw()
    await is_back(one)


@ensureDeferred
async def test_frozen_from_the_start(linked: Any, server: RedisServer) -> None:
    server.freeze()
    one = await linked(quick(server.url))  # the attempt ends by its own limit
    await decisions(one)
    server.thaw()
    await is_back(one)


@ensureDeferred
async def test_many_at_once_wait_no_longer_than_one(linked: Any, server: RedisServer) -> None:
    one = await linked(quick(server.url))
    server.freeze()
    for _ in range(6):
        both = await together(*(one.decide() for _ in range(200)))
        assert max(took for _, took in both) < NEVER
        assert all(isinstance(result, str) for result, _ in both)
    assert not one.link.connected
    assert one.link.counts.late <= 600
    server.thaw()
    await is_back(one)


@pytest.mark.parametrize("what", ["hole", "held", "reset", "silence"])
@ensureDeferred
async def test_packets_are_lost(linked: Any, proxy: FaultProxy, what: str) -> None:
    one = await linked(quick(proxy.url))
    await works(one)
    proxy.up.hole = what in ("hole", "silence")
    proxy.down.held = what == "held"
    if what == "reset":
        proxy.accept("reset")
        proxy.reset()
    if what == "silence":
        proxy.accept("silence")
    results = await decisions(one)
    assert all(isinstance(result, str) for result in results[3:])
    assert not one.link.connected
    await turn(0.6)
    await decisions(one)
    proxy.up.hole = proxy.down.held = False
    if what in ("reset", "silence"):
        proxy.accept("pass")
    await is_back(one)


@ensureDeferred
async def test_slow_by_two_seconds(linked: Any, proxy: FaultProxy) -> None:
    one = await linked(quick(proxy.url))
    await works(one)
    proxy.down.latency = 2.0
    assert all(isinstance(result, str) for result in (await decisions(one))[3:])
    await turn(2.5)  # late answers have come by now; a probe is as slow, and closes nothing
    assert not one.link.connected
    await decisions(one)
    proxy.down.latency = 0.0
    await is_back(one)


@pytest.mark.parametrize(
    "error",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n",
        b"-ERR max number of clients reached\r\n",
        None,
        b"nonsense\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*3\r\n:1\r\n$5\r\nha",
        b"$1000000000\r\n" + bytes(1 << 20),
    ],
)
@ensureDeferred
async def test_answers_what_cannot_be_used(linked: Any, fake: RespServer, error: bytes | None) -> None:
    one = await linked(quick(fake.url))
    await works(one)

    def sent() -> int:
        return sum(command[1] == COUNT.sha1 for command in fake.commands if command[0] == b"EVALSHA")

    before = sent()
    fake.answer = to(dict.fromkeys((b"EVALSHA", b"EVAL"), error))
    results = await decisions(one)
    assert all(isinstance(result, str) for result in results)
    assert not one.link.connected
    assert sent() - before <= 3
    fake.answer = to({})
    await is_back(one)


@ensureDeferred
async def test_a_replica_that_became_one(linked: Any, server: RedisServer) -> None:
    with RedisServer() as other:
        one = await linked(server.url)
        assert (await one.decide())[0] == 1
        server.command("REPLICAOF", *other.address)
        assert isinstance((await one.decide())[0], str)
        assert not one.link.connected
        await turn(0.6)
        assert not one.link.connected
        server.command("REPLICAOF", "NO", "ONE")
        await is_back(one)


@ensureDeferred
async def test_full_memory(linked: Any, server: RedisServer) -> None:
    one = await linked(server.url)
    server.command("CONFIG", "SET", "maxmemory", 1)
    await decisions(one)
    assert not one.link.connected
    assert "OOM" in one.link.why
    server.command("CONFIG", "SET", "maxmemory", 0)
    await is_back(one)


@ensureDeferred
async def test_a_blocked_loop_is_no_failure_of_the_server(linked: Any, server: RedisServer) -> None:
    one = await linked(quick(server.url))
    for _ in range(5):
        waiting = one.link.call(b"PING")
        await turn()
        time.sleep(0.2)  # what blocks the loop here is the test
        assert await waiting == b"PONG"
    assert one.link.counts.late == 0


@ensureDeferred
async def test_an_answer_that_is_late_is_nobody_else_s(linked: Any, fake: RespServer) -> None:
    one = await linked({"url": fake.url, "timeout": "400ms"})
    fake.answer = lambda command: b"$%d\r\n%b\r\n" % (len(command[1]), command[1])
    fake.delay = 0.6
    with pytest.raises(StoreUnavailable):
        await one.link.call(b"ECHO", b"late")
    fake.delay = 0.0
    assert await one.link.call(b"ECHO", b"second") == b"second"  # which comes behind the one that is late
    assert await one.link.call(b"ECHO", b"third") == b"third"
    assert one.link.counts.late == 1


@ensureDeferred
async def test_errors_that_are_late_make_a_server_no_better(linked: Any, fake: RespServer) -> None:
    one = await linked(quick(fake.url))
    await works(one)
    fake.answer = always(b"-NOSCRIPT No matching script.\r\n")
    fake.delay = 0.045
    for _ in range(10):
        if one.link.connected:
            await one.decide()
    assert not one.link.connected
    assert one.link.counts.errors == 0


@ensureDeferred
async def test_an_answer_without_an_end_is_not_held(linked: Any, fake: RespServer) -> None:
    one = await linked({"url": fake.url, "timeout": "10s"})
    fake.answer = always(b"$1000000000\r\n" + bytes(MOST_UNREAD))
    with pytest.raises(StoreUnavailable, match="without an end"):
        await one.link.call(b"GET", b"x")


@ensureDeferred
async def test_nothing_is_kept_for_a_server_that_is_back(linked: Any, fake: RespServer) -> None:
    one = await linked(quick(fake.url))
    fake.answer = always(None)
    await decisions(one)
    assert not one.link.connected
    with pytest.raises(StoreUnavailable):
        one.link.call(b"GET", b"x")
    fake.commands.clear()
    fake.answer = to({})
    await one.connected()
    assert set(fake.names()) == {b"CLIENT", b"EVALSHA"}


@ensureDeferred
async def test_a_worker_that_is_cut_off_keeps_nothing(linked: Any, server: RedisServer) -> None:
    one = await linked(server.url)
    await decisions(one)
    server.kill()
    await one.without()

    def refused(number: int) -> None:
        for _ in range(number):
            try:
                one.link.run(COUNT, [KEY], [])
            except StoreUnavailable:
                continue
            raise AssertionError("it was not refused")

    refused(1000)
    await turn(1.2)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        refused(5000)
        await turn(0.15)
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert one.link.counts.without >= 51_000
    assert len(one.lines()) == 1  # of the interval


@pytest.mark.parametrize("way", ["refuse", "close", "silence"])
@ensureDeferred
async def test_attempts_in_vain_leave_nothing_behind(
    linked: Any, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, no_collector: None, way: Any
) -> None:
    monkeypatch.setattr(keeping, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(keeping, "LONGEST_PAUSE", 0.01)
    tries: list[str] = []
    one = await linked(f"redis://127.0.0.1:{proxy.port}")
    await one.connected()
    monkeypatch.setattr(one.link._kept, "_failed", tries.append)
    proxy.accept(way)
    proxy.reset()
    await until(lambda: len(tries) >= 2, "the first attempts")
    garbage()
    await until(lambda: len(tries) >= 5, "attempts in vain")
    assert garbage() == Counter()


@ensureDeferred
async def test_operators_read_of_it_once_in_an_interval(linked: Any, server: RedisServer) -> None:
    one = await linked(server.url)
    for _ in range(2):
        server.kill()
        await one.without()
        await decisions(one)
        server.start()
        await one.connected()
    assert one.lines() == [
        "the shared state does not answer, steps do as their on_store_failure says",
        "the shared state answers again",
    ]
    _, _, fields = one.events.events[-1]
    assert DECISIONS <= fields["decided_without"] <= DECISIONS + 3
    assert one.link.openings == 2

