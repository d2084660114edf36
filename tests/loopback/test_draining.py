"""The end of a gateway: it says so, serves what runs, and then nothing is left."""

from __future__ import annotations

import os
import signal
from typing import Any

from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import reactor, turn, until
from twisted.internet.defer import Deferred

MANAGED: Settings = {"management": {"address": "127.0.0.1:0"}}


def stopping(stage: Stage) -> Deferred[Any]:
    """Begin to stop, as a signal does."""
    service: Any = stage.gateway.service
    stopped: Deferred[Any] = service.stopService()
    return stopped


@ensureDeferred
async def test_a_drain_turns_readiness_ends_connections_politely_and_finishes_what_runs(stage: Stage) -> None:
    async def answer(asked: Asked) -> None:
        if asked.target == "/download":
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            for number in range(10):
                await until(lambda number=number: len(go) > number)  # type: ignore[misc]
                asked.send(b"%d" % number)
        else:
            asked.answer(200, b"ok")

    go: list[int] = []
    origin = await stage.origin(answer)
    gateway = await stage.serve(simple(origin, drain={"notice": "300ms", "timeout": "5s"}, **MANAGED))
    download, kept, idle = await stage.client(), await stage.client(), await stage.client()
    download.send(request("GET", "/download"))
    assert (await download.head()).status == 200
    assert (await kept.ask("GET", "/")).get("connection") is None
    assert (await idle.ask("GET", "/")).get("connection") is None
    ready = await stage.ask("GET", "/readyz", place=gateway.management)
    assert ready.status == 200

    stopped = stopping(stage)
    # For the time of the notice: not ready, and still serving.
    ready = await stage.ask("GET", "/readyz", place=gateway.management)
    assert (ready.status, ready.json["reason"]) == (503, "draining")
    assert (await stage.ask("GET", "/livez", place=gateway.management)).status == 200
    assert (await stage.ask("GET", "/new")).get("connection") == "close"
    answered = await kept.ask("GET", "/")
    assert (answered.status, answered.get("connection")) == (200, "close")
    await kept.gone(within=1.0)
    address = gateway.address()

    # Then: no new connection, and the idle one ends.
    await idle.gone(within=1.0)
    assert idle.unread == b""
    with_refused = await _refused(stage, address)
    assert with_refused
    assert not stopped.called
    for _ in range(10):
        go.append(1)
        await turn()
    assert await download.exactly(10) == b"0123456789"
    await download.gone(within=1.0)
    await stopped.addTimeout(2.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]
    await until(lambda: not origin.open, "nothing is left of the pools")
    assert [line["status"] for line in gateway.access()].count(200) == 5


async def _refused(stage: Stage, address: tuple[str, int]) -> bool:
    try:
        await stage.client(address)
    except OSError:
        return True
    return False


@ensureDeferred
async def test_what_still_runs_at_the_limit_is_cut_off(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    gateway = await stage.serve(simple(origin, drain={"notice": "1ms", "timeout": "200ms"}))
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: origin.asked)
    began = reactor.seconds()
    await gateway.stop()
    assert 0.15 < reactor.seconds() - began < 4.0
    await client.gone()
    await until(lambda: not origin.open)
    assert gateway.access()[0]["status"] == 499


@ensureDeferred
async def test_who_still_sends_a_body_that_nobody_wants_gets_its_answer(stage: Stage) -> None:
    """A close over octets that were not read would reset the connection, and could take the answer away."""
    origin = await stage.origin()
    flow = steps(step("message-size", max="1KiB"))
    await stage.serve(simple(origin, api(pre_flow=flow), drain={"notice": "1ms", "timeout": "5s"}))
    client = await stage.client()
    client.send(request("POST", "/", "Content-Length: 900000"))
    assert (await client.answer()).status == 413
    stopped = stopping(stage)
    await until(lambda: stage.gateway.worker.status()["why_not_ready"] == "draining")
    for _ in range(5):
        client.send(b"x" * 1000)
        await turn(0.01)
        assert not client.closed, client.reason
    client.close()
    await stopped
    stage.gateway.service = None  # type: ignore[assignment]


@ensureDeferred
async def test_a_second_signal_ends_at_once(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    gateway = await stage.serve(simple(origin, drain={"notice": "1ms", "timeout": "30s"}))
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: origin.asked)
    stopped = stopping(stage)
    await turn(0.1)
    assert not stopped.called
    os.kill(os.getpid(), signal.SIGTERM)
    await stopped.addTimeout(1.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]
    await gateway.event("second signal")


@ensureDeferred
async def test_a_second_signal_cuts_the_time_of_the_notice_short(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    gateway = await stage.serve(simple(origin, drain={"notice": "1h", "timeout": "1h"}))
    stopped = stopping(stage)
    await until(lambda: gateway.worker.status()["why_not_ready"] == "draining")
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: origin.asked)
    assert not stopped.called
    os.kill(os.getpid(), signal.SIGTERM)
    await stopped.addTimeout(5.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]
    await gateway.event("second signal")
    assert client.size == 0


@ensureDeferred
async def test_a_reload_that_comes_too_late_leaves_nothing_running(stage: Stage) -> None:
    origin = await stage.origin()
    checked = {"health": {"path": "/health", "interval": "20ms"}}
    gateway = await stage.serve(simple(origin))
    gateway.write(simple(origin, up=checked))
    worker = gateway.worker
    reloading = worker.reload()
    stopped = stopping(stage)
    await stopped.addTimeout(2.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]
    await reloading
    asked = len(origin.asked)
    await turn(0.1)
    assert len(origin.asked) == asked
    assert worker.status()["revisions_in_use"] == 0


@ensureDeferred
async def test_a_policy_that_is_waited_for_is_waited_for_in_a_drain_too(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(
        simple(
            origin,
            api(pre_flow=steps(step("mock", status=200, body="late", delay="300ms"))),
            drain={"notice": "1ms", "timeout": "5s"},
        )
    )
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: gateway.worker.status()["exchanges_running"])
    stopped = stopping(stage)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (200, "close")
    await stopped.addTimeout(2.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]


@ensureDeferred
async def test_a_head_that_began_before_the_drain_is_still_answered(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, drain={"notice": "1ms", "timeout": "5s"}))
    client = await stage.client()
    octets = request("GET", "/begun")
    client.send(octets[:20])
    await until(lambda: any(one._wire.in_head for one in stage.gateway.worker.bound[0].listener.connections))
    stopped = stopping(stage)
    await turn(0.05)
    client.send(octets[20:])
    assert (await client.answer()).get("connection") == "close"
    await stopped.addTimeout(2.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]
