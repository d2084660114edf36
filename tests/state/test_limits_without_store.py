"""RC-O25 and fault 32, as clients see them: the state is away in every way there is, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.fixtures import quick_collections, stage
from toolkit.settings import api, route, step, steps
from toolkit.stage import Stage
from toolkit.waiting import on_loop, reactor, turn, until
from twisted.internet.defer import Deferred

__all__ = ["quick_collections", "stage"]

LIMIT, ASKED = 5, 20
WAITS = "400ms"


class Away:
    """A server, the way to it, and a stand-in that refuses every command with the same words."""

    def __init__(self, server: RedisServer, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self._stand_in: asyncio.Server | None = None

    async def refuse_all(self, words: bytes) -> None:
        """From now on somebody answers in its place."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):  # who asked may leave by a reset
                while await reader.read(65536):
                    writer.write(b"-" + words + b"\r\n")
            writer.close()

        self._stand_in = await on_loop(asyncio.start_server(answer, "127.0.0.1", 0))
        self.proxy.target = self._stand_in.sockets[0].getsockname()
        self.proxy.reset()

    async def back(self) -> None:
        """All is well again."""
        self.proxy.target = self.server.address
        for way in (self.proxy.up, self.proxy.down):
            way.hole, way.latency = False, 0.0
        self.proxy.accept("pass")
        if self._stand_in is not None:
            self._stand_in.close()
            self.proxy.reset()


@pytest_twisted.async_yield_fixture
async def away(stage: Stage) -> Any:
    """With a server of its own for each test."""
    with RedisServer() as server:
        proxy = FaultProxy(server.address)
        found = Away(server, proxy)
        yield found
        await found.back()
        await stage.gateway.stop()
        await proxy.close()


def refused(away: Away) -> None:
    away.proxy.accept("refuse")
    away.proxy.reset()


def mute(away: Away) -> None:
    away.proxy.down.hole = True


def partitioned(away: Away) -> None:
    away.proxy.accept("silence")
    away.proxy.up.hole = away.proxy.down.hole = True


def slow(away: Away) -> None:
    away.proxy.down.latency = 2.0


def readonly(away: Away) -> None:
    away.server.command("REPLICAOF", "127.0.0.1", "1")


def writable(away: Away) -> None:
    away.server.command("REPLICAOF", "NO", "ONE")


def loading(away: Away) -> Awaitable[None]:
    return away.refuse_all(b"LOADING Redis is loading the dataset in memory")


def nothing(away: Away) -> None:
    """To be mended elsewhere."""


Do = Callable[[Away], Awaitable[None] | None]
WAYS: dict[str, tuple[Do, Do]] = {
    "refused": (refused, nothing),
    "mute": (mute, nothing),
    "partitioned": (partitioned, nothing),
    "slow": (slow, nothing),
    "readonly": (readonly, writable),
    "loading": (loading, nothing),
    "frozen": (lambda away: away.server.freeze(), lambda away: away.server.thaw()),
    "killed": (lambda away: away.server.kill(), lambda away: away.server.start() and None),
}
EXPECTED = {
    "local": [200] * LIMIT + [429] * (ASKED - LIMIT),
    "open": [200] * ASKED,
    "closed": [503] * ASKED,
}


class Caller:
    """Asks on one connection."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.seconds: list[float] = []

    async def ask(self, key: str) -> tuple[int, str | None]:
        """Status, and what is said of the state."""
        began = reactor.seconds()
        answer = await self._client.ask("GET", "/", f"X-Key: {key}")
        self.seconds.append(reactor.seconds() - began)
        if answer.status == 503:
            assert (answer.kind, answer.get("retry-after")) == ("unavailable", "1")
        return answer.status, answer.get("x-store-failure")


async def serve(
    stage: Stage, away: Away, mode: str, policy: str = "rate-limit", *, answer: Any = None, **settings: Any
) -> Caller:
    """One limit in front of an answer, counted behind the proxy."""
    given = {"by": "header:X-Key", "on_store_failure": mode, "tell_store_failure": True, **settings}
    flow = steps({"policy": policy, "with": given}, answer or step("mock", status=200))
    await stage.serve({
        # Not 30 ms: what is counted exactly must not depend on how busy this machine is.
        "state": {"url": f"redis://127.0.0.1:{away.proxy.port}", "timeout": WAITS},
        "apis": [api(route(to=None, pre_flow=flow))],
        "management": {"address": "127.0.0.1:0"},
    })
    caller = Caller(await stage.client())
    await until_back(caller, "before")
    return caller


async def until_back(caller: Caller, key: str, within: float = 5.0) -> None:
    """Ask, each time for another key, until the state counts again."""
    end, number = reactor.seconds() + within, 0
    while (told := await caller.ask(f"{key}-{number}")) != (200, None):
        assert reactor.seconds() < end, told
        number += 1
        await turn(0.05)


async def failures(stage: Stage, mode: str) -> float:
    """What the metrics page says."""
    page = (await stage.ask("GET", "/metrics", place=stage.gateway.management)).body.decode()
    name = f'apigateway_store_failures_total{{mode="{mode}",step="rate-limit"}} '
    return sum(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))


@pytest.mark.parametrize("mode", list(EXPECTED))
@pytest.mark.parametrize("way", list(WAYS))
@ensureDeferred
async def test_rc_o25_while_the_state_is_away(stage: Stage, away: Away, way: str, mode: str) -> None:
    caller = await serve(stage, away, mode, limit=LIMIT, per="1h", headers="none")
    before = await failures(stage, mode)
    breaks, mends = WAYS[way]
    done = breaks(away)
    if done is not None:
        await done
    caller.seconds.clear()
    said = [await caller.ask("during") for _ in range(ASKED)]
    assert [status for status, _ in said] == EXPECTED[mode]
    assert {told for _, told in said} == {None if mode == "closed" else mode}
    # A decision waits so long at most, and after a few not at all; what is over that is this machine's.
    assert sorted(caller.seconds)[ASKED - 4] < 0.45, caller.seconds
    assert await failures(stage, mode) == before + ASKED
    await until(lambda: len(noted(stage, mode)) >= ASKED)

    done = mends(away)
    if done is not None:
        await done
    await away.back()
    await until_back(caller, "after")
    # Exactly, as before; and who passed by `local` does not pass again.
    assert [(await caller.ask("new"))[0] for _ in range(8)] == [200] * LIMIT + [429] * 3
    if mode == "local":
        assert (await caller.ask("during")) == (429, "local")


def noted(stage: Stage, mode: str) -> list[Any]:
    """The lines of the access log that tell of it."""
    return [line for line in stage.gateway.access() if line.get("notes") == {"store": mode}]


@pytest.mark.parametrize("mode", ["local", "open"])
@ensureDeferred
async def test_a_gateway_starts_without_its_state(stage: Stage, away: Away, mode: str) -> None:
    away.proxy.accept("refuse")
    given = {"limit": LIMIT, "per": "1h", "by": "header:X-Key", "on_store_failure": mode, "tell_store_failure": True}
    flow = steps(step("rate-limit", **given), step("mock", status=200))
    await stage.serve({
        "state": f"redis://127.0.0.1:{away.proxy.port}", "apis": [api(route(to=None, pre_flow=flow))],
    })
    caller = Caller(await stage.client())
    assert [await caller.ask("k") for _ in range(3)] == [(200, mode)] * 3
    await away.back()
    await until_back(caller, "after")


@ensureDeferred
async def test_a_state_that_lost_everything_causes_no_error(stage: Stage, away: Away) -> None:
    caller = await serve(stage, away, "closed", limit=LIMIT, per="1h")
    assert [(await caller.ask("k"))[0] for _ in range(6)] == [200] * LIMIT + [429]
    away.server.command("SCRIPT", "FLUSH")
    assert (await caller.ask("k"))[0] == 429
    away.server.restart()
    await until_back(caller, "after")
    # Its counters are gone; the limit holds as for a new caller.
    assert [(await caller.ask("k"))[0] for _ in range(6)] == [200] * LIMIT + [429]


@pytest.mark.parametrize("mode", ["local", "open", "closed"])
@ensureDeferred
async def test_places_while_the_state_is_away(stage: Stage, away: Away, mode: str) -> None:
    caller = await serve(stage, away, mode, "concurrency-limit", limit=1, lease="1h")
    away.proxy.accept("refuse")
    away.proxy.reset()
    expected = {"local": (200, "local"), "open": (200, "open"), "closed": (503, None)}[mode]
    assert [await caller.ask("k") for _ in range(5)] == [expected] * 5
    await away.back()
    await until_back(caller, "after")
    assert [await caller.ask("k") for _ in range(3)] == [(200, None)] * 3


@ensureDeferred
async def test_a_place_that_could_not_be_given_back_is_free_when_the_state_is_there(stage: Stage, away: Away) -> None:
    """And not only when its lease ends."""
    late = step("mock", status=200, delay="500ms")
    caller = await serve(stage, away, "closed", "concurrency-limit", limit=1, lease="1h", answer=late)
    running = Deferred.fromCoroutine(caller.ask("k"))
    # The answer has come to the gateway, too.
    counts = stage.gateway.service.metrics.limit_decisions.counts
    before = sum(counts.values())
    await until(lambda: sum(counts.values()) > before)
    refused(away)
    assert (await running) == (200, None)
    await away.back()
    other = Caller(await stage.client())
    await until_back(other, "after")
    end = reactor.seconds() + 5.0
    while (told := await other.ask("k")) != (200, None):
        assert reactor.seconds() < end, told


@ensureDeferred
async def test_rc_o26_no_counter_is_left_without_an_end(stage: Stage, away: Away) -> None:
    """The connection is cut at every place in what is sent; nobody is locked out for longer than the period."""
    caller = await serve(stage, away, "open", limit=3, per="1s")
    for octets in range(1, 400, 23):
        away.proxy.up.reset_after = octets
        away.proxy.reset()
        assert (await caller.ask("u1"))[0] in (200, 429)
    away.proxy.up.reset_after = None
    away.proxy.reset()
    await until_back(caller, "after")
    keys = away.server.command("KEYS", "*")
    assert keys
    ends = away.server.commands([("PTTL", key) for key in keys])
    # -2: it ended between the two commands; -1 would be for ever.
    assert [end for end in ends if end == -1] == []
    await turn(1.1)
    assert (await caller.ask("u1")) == (200, None)
