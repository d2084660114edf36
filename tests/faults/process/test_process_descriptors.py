"""Fault 34, descriptors: a process that has none left serves on whom it has, and accepts again when it can.

Both loops are right in their way. uvloop's accepts what comes and closes it at once (libuv keeps a descriptor for
that), so that a client or a balancer learns to go elsewhere; the interpreter's leaves it in the kernel's queue, looks
again after a second, and serves it then. Neither spins.
"""

from __future__ import annotations

import os

import pytest
from gateway_process import GatewayProcess, eventually, fetched, process_on
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.settings import Settings, api, route, simple, upstream
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import reactor, steady, turn, until

LOOPS = pytest.mark.parametrize("uvloop", [True, False], ids=["uvloop", "asyncio"])
# Many more than it may have: the kernel takes them all.
CLIENTS = 200
# Targets are asked for their health, and given up after one failure, of a check or of traffic.
CHECKED: Settings = {
    "path": "/health", "interval": "100ms", "timeout": "2s", "unhealthy_after": 1,
    "passive": {"failures": 1, "aside_for": "1h"},
}  # fmt: skip


async def exhaust(stage: Stage, gateway: GatewayProcess, most: int = 128) -> list[Client]:
    """Take all descriptors that it may have, by clients that say nothing."""
    gateway.limit_descriptors(most)
    clients = [await stage.client() for _ in range(CLIENTS)]
    await until(lambda: len(gateway.descriptors()) >= most - 1, lambda: gateway.descriptors())
    return clients


async def serves_again(stage: Stage) -> None:
    """Within a second, and what a busy machine adds: a client that was closed at once comes again."""

    async def serves() -> bool:
        try:
            return await fetched(await stage.client()) == 200
        except Closed:
            return False

    await eventually(serves, within=3.0)


@LOOPS
@ensureDeferred
async def test_it_accepts_again_as_soon_as_there_are_descriptors(stage: Stage, uvloop: bool) -> None:
    origin = await stage.origin()
    gateway = await process_on(stage, simple(origin), uvloop=uvloop)
    kept = await stage.client()
    assert await fetched(kept) == 200
    silent = await exhaust(stage, gateway)

    # Who is connected, to a pooled connection behind, notices nothing; and nothing spins.
    before, began = gateway.busy(), reactor.seconds()
    while reactor.seconds() - began < 1.0:
        assert await fetched(kept) == 200
        await turn(0.02)
    assert gateway.busy() - before < 0.7 * (reactor.seconds() - began)

    for client in silent:
        client.transport.abort()
    await serves_again(stage)
    assert await fetched(kept) == 200


@LOOPS
@ensureDeferred
async def test_raising_the_limit_is_enough(stage: Stage, uvloop: bool) -> None:
    origin = await stage.origin()
    gateway = await process_on(stage, simple(origin), uvloop=uvloop)
    silent = await exhaust(stage, gateway)
    late = await stage.client()
    late.send(request("GET", "/late"))
    if uvloop:
        await until(lambda: any(client.ended for client in silent))
    gateway.limit_descriptors(None)
    await serves_again(stage)
    # Nobody is forgotten: closed at once, or served from the queue.
    await until(lambda: late.ended or late.size)
    if not uvloop:
        assert (await late.answer()).status == 200
        assert not any(client.ended for client in silent)


@LOOPS
@ensureDeferred
async def test_no_target_is_blamed_for_what_the_gateway_lacks(stage: Stage, uvloop: bool) -> None:
    one, two = await stage.origin(name="one"), await stage.origin(name="two")
    up = upstream(one, two, health=CHECKED, retry={"attempts": 1})
    gateway = await process_on(stage, {"upstreams": [up], "apis": [api()]}, uvloop=uvloop)
    # Connected, but with no connection behind: these need a descriptor more.
    clients = [await stage.client() for _ in range(8)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\n")
    await until(lambda: one.asked and two.asked)  # their health
    silent = await exhaust(stage, gateway)
    for client in clients:
        client.send(b"Host: gw.test\r\n\r\n")
    answers = [await client.answer() for client in clients]
    short = [answer for answer in answers if answer.status == 503]
    assert short and {answer.kind for answer in short} == {"overloaded"}
    assert {answer.status for answer in answers} <= {200, 503}
    asked = len(one.asked)
    for client in silent:
        client.transport.abort()
    # Checks go on, and nobody was put aside meanwhile.
    await until(lambda: len(one.asked) > asked + 3)
    for name in ("one", "two"):
        assert await gateway.metric("apigateway_target_healthy", f'{{target="{name}",upstream="up"}}') == 1.0
    assert [await fetched(client) for client in clients] == [200] * 8
    told = [event for event in gateway.events() if event["message"].startswith("target is")]
    assert told == []
    assert any("Too many open files" in event.get("private", "") for event in gateway.events())


@LOOPS
@ensureDeferred
async def test_the_log_is_not_filled_with_it(stage: Stage, uvloop: bool) -> None:
    origin = await stage.origin()
    gateway = await process_on(stage, simple(origin), uvloop=uvloop)
    await exhaust(stage, gateway)
    began = reactor.seconds()
    await steady(lambda: gateway.process.poll() is None, 2.5)
    about = [event for event in gateway.events() if "resource" in event["message"] or "open files" in str(event)]
    assert len(about) <= 1 + (reactor.seconds() - began), about[:3]
    assert os.path.getsize(gateway.folder / "output") < 64 * 1024


@LOOPS
@ensureDeferred
async def test_a_reload_without_descriptors_leaves_what_runs(stage: Stage, uvloop: bool) -> None:
    origin = await stage.origin()
    gateway = await process_on(stage, simple(origin), uvloop=uvloop)
    kept = await stage.client()
    assert await fetched(kept) == 200
    silent = await exhaust(stage, gateway)
    gateway.limit_descriptors(len(gateway.descriptors()))
    gateway.write(simple(origin, api(route("/new"))))
    gateway.process.send_signal(1)
    await steady(lambda: gateway.process.poll() is None, 0.3)
    assert await fetched(kept) == 200
    for client in silent:
        client.transport.abort()
    gateway.limit_descriptors(None)
    gateway.process.send_signal(1)

    async def taken() -> bool:
        return await fetched(kept, "/old") == 404

    await eventually(taken)
    assert await fetched(kept, "/new") == 200
