"""Fault 24: a client that leaves, at each moment of an exchange. Within a second nothing of it is left, and the log
says 499. The case with its numbers is RC-O12 (tests/loopback/test_case_leaving.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked
from toolkit.settings import api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import turn, until

Proxies = Callable[..., FaultProxy]
leaving = pytest.mark.parametrize("how", ["close", "reset", "cut"])


class Leaver:
    """A client behind a proxy, that leaves by a close, by a reset, or because the network cuts it off."""

    def __init__(self, proxy: FaultProxy, client: Client) -> None:
        self.proxy, self.client = proxy, client

    def leave(self, how: str) -> None:
        if how == "cut":
            self.proxy.reset()
        elif how == "reset":
            self.client.reset()
        else:
            self.client.close()


async def leaver(stage: Stage, proxies: Proxies) -> Leaver:
    """One that has connected."""
    proxy = proxies(stage.gateway.address())
    return Leaver(proxy, await stage.client(proxy.address))


async def nothing_left(stage: Stage, attempts: int = 1, status: int = 499) -> None:
    """In a second: nothing runs, nothing is counted, and there is one line."""
    gateway = stage.gateway
    await until(lambda: gateway.worker.status()["exchanges_running"] == 0, "it ends", within=1.0)
    for target in gateway.worker.upstreams()[0]["targets"]:
        assert (target["active"], target["connections"]["busy"], target["usable"]) == (0, 0, True)
    line = await gateway.line()
    assert (line["status"], line["fault"]["type"], line["attempts"]) == (status, "client-closed", attempts)
    await until(lambda: not gateway.worker.bound[0].listener.connections)
    assert len(gateway.access()) == 1


@leaving
@ensureDeferred
async def test_while_a_policy_is_waited_for(stage: Stage, proxies: Proxies, how: str) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(step("mock", delay="30s")))))
    it = await leaver(stage, proxies)
    it.client.send(request("GET", "/"))
    await until(lambda: stage.gateway.worker.status()["exchanges_running"])
    it.leave(how)
    await nothing_left(stage, attempts=0)


@leaving
@ensureDeferred
async def test_while_a_connection_is_being_opened(stage: Stage, proxies: Proxies, how: str) -> None:
    origin = await stage.origin()
    lost = proxies((origin.address, origin.port))
    lost.accept("silence")
    await stage.serve(simple(lost, up={"timeouts": {"connect": "30s"}}))
    it = await leaver(stage, proxies)
    it.client.send(request("GET", "/"))
    await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["connections"]["busy"])
    it.leave(how)
    await nothing_left(stage)


@leaving
@pytest.mark.parametrize("octets", [request("GET", "/"), request("POST", "/", body=b"x" * 100_000)])
@ensureDeferred
async def test_while_the_upstream_is_waited_for(
    stage: Stage, proxies: Proxies, how: str, octets: bytes
) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(simple(origin))
    it = await leaver(stage, proxies)
    it.client.send(octets)
    await until(lambda: origin.asked and origin.last.connection.size >= len(octets))
    it.leave(how)
    await until(lambda: not origin.open, "the upstream's side ends", within=1.0)
    await nothing_left(stage)


@leaving
@ensureDeferred
async def test_between_two_attempts(stage: Stage, proxies: Proxies, how: str) -> None:
    origin = await stage.origin(lambda asked: asked.answer(503))
    await stage.serve(
        simple(origin, up={"retry": {"attempts": 3, "backoff": "30s"}, "timeouts": {"total": "100s"}})
    )
    it = await leaver(stage, proxies)
    it.client.send(request("GET", "/"))
    await until(lambda: origin.asked)
    await until(lambda: not stage.gateway.worker.upstreams()[0]["targets"][0]["active"])
    it.leave(how)
    await nothing_left(stage)
    assert len(origin.asked) == 1


@leaving
@ensureDeferred
async def test_in_its_upload(stage: Stage, proxies: Proxies, how: str) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(simple(origin))
    it = await leaver(stage, proxies)
    it.client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    await until(lambda: origin.asked)
    it.leave(how)
    await until(lambda: not origin.open, "the upstream's side ends", within=1.0)
    # And what came never looked whole to the upstream.
    assert origin.connections[0].size < 10_000
    await nothing_left(stage)


@pytest.mark.parametrize("how", ["reset", "cut"])
@ensureDeferred
async def test_in_its_upload_that_the_upstream_does_not_read(
    stage: Stage, proxies: Proxies, how: str
) -> None:
    """Who is not read from is not seen to leave by reading: it is looked for. (A close waits behind what the client
    wrote, and cannot be seen before that is read.)"""
    origin = await stage.origin(lambda asked: asked.connection.pause())
    await stage.serve(simple(origin))
    it = await leaver(stage, proxies)
    it.client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 99000000\r\n\r\n" + b"x" * (8 << 20))
    await until(lambda: origin.asked)
    await until(lambda: it.client.stuck)
    it.leave(how)
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0, within=1.5)
    origin.open[0].resume()
    await until(lambda: not origin.open)
    assert (await stage.gateway.line())["status"] == 499


async def endless(asked: Asked) -> None:
    """An answer that does not end."""
    asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not asked.connection.ended:
        await asked.connection.send_slowly(b"10000\r\n" + b"x" * 65536 + b"\r\n", within=30.0)
        await turn(0.002)


@leaving
@pytest.mark.parametrize("reads", [True, False])
@ensureDeferred
async def test_in_the_response(stage: Stage, proxies: Proxies, how: str, reads: bool) -> None:
    origin = await stage.origin(endless)
    await stage.serve(simple(origin))
    it = await leaver(stage, proxies)
    it.client.send(request("GET", "/"))
    await it.client.head()
    if not reads:
        it.client.pause()
        listener = stage.gateway.worker.bound[0].listener
        await until(lambda: all(one._writer_paused for one in listener.connections))
    it.leave(how)
    await until(lambda: not origin.open, "the upstream's side ends", within=1.0)
    await nothing_left(stage, status=200)


@leaving
@ensureDeferred
async def test_a_limit_counts_who_left_once(stage: Stage, proxies: Proxies, how: str) -> None:
    """A request that was let through was one, whether or not its client waited; nobody is charged for it twice."""
    origin = await stage.origin(lambda asked: None)
    limited: Any = api(pre_flow=steps(step("rate-limit", limit=5, per="1h", by="ip")))
    await stage.serve(simple(origin, limited))
    proxy = proxies(stage.gateway.address())
    for number in range(4):
        client = await stage.client(proxy.address)
        client.send(request("GET", "/"))
        await until(lambda number=number: len(origin.asked) == number + 1)  # type: ignore[misc]
        Leaver(proxy, client).leave(how)
        await until(lambda: not origin.open, within=1.0)
    origin.script = lambda asked: asked.answer(200)
    assert [(await stage.ask("GET", "/")).status for _ in range(3)] == [200, 429, 429]
