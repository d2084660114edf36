"""Fault 23: a kept connection that is gone when it is used again. A GET never shows it; a POST is never sent twice.

RC-O11 (tests/loopback/test_case_stale_connections.py) has the origin close; here the network does, or hides it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked, Origin
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.stream import Stream
from toolkit.waiting import together, turn, until

Proxies = Callable[..., FaultProxy]
# Not even with retries off may a GET show it: nobody refused the request.
OFF: dict[str, Any] = {"retry": {"attempts": 1}}


async def own_answer(asked: Asked) -> None:
    """Answer with the target."""
    await asked.read()
    asked.answer(200, asked.target.encode())


def idle(stage: Stage) -> int:
    """Connections that the pool keeps."""
    return int(stage.gateway.worker.upstreams()[0]["targets"][0]["connections"]["idle"])


async def kept(stage: Stage, proxy: FaultProxy, clients: list[Client]) -> None:
    """As many kept connections as clients: they all ask at once."""
    proxy.down.held = True
    for client in clients:
        client.send(request("GET", "/first"))
    await until(lambda: len(proxy.open) == len(clients))
    proxy.down.held = False
    for client in clients:
        assert (await client.answer()).status == 200
    await until(lambda: idle(stage) == len(clients))


async def behind(stage: Stage, proxies: Proxies, **up: Any) -> tuple[Origin, FaultProxy]:
    """An origin behind a proxy behind the gateway."""
    origin = await stage.origin(own_answer)
    proxy = proxies((origin.address, origin.port))
    await stage.serve(simple(proxy, up={**OFF, **up}))
    return origin, proxy


@pytest.mark.parametrize("how", ["end", "reset"])
@ensureDeferred
async def test_a_get_on_a_connection_whose_end_is_still_on_its_way(
    stage: Stage, proxies: Proxies, how: str
) -> None:
    """The request is sent before the end arrives: the race that a client of a pool cannot win."""
    origin, proxy = await behind(stage, proxies)
    client = await stage.client()
    for number in range(5):
        assert (await client.ask("GET", f"/a{number}")).body == f"/a{number}".encode()
        link = proxy.links[-1]
        proxy.down.held = proxy.up.held = True
        origin.open[-1].close()
        client.send(request("GET", f"/b{number}"))
        await until(lambda: stage.gateway.worker.status()["exchanges_running"])
        await turn(0.01)
        if how == "reset":
            link.reset()
        proxy.down.held = proxy.up.held = False
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, f"/b{number}".encode())
        line = await stage.gateway.line(lambda line, number=number: line["target"] == f"/b{number}")
        assert line["attempts"] == 1
    # It says nothing of the target.
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["usable"], target["active"]) == (True, 0)


@ensureDeferred
async def test_when_every_kept_connection_is_gone_nobody_tries_one_after_the_other(
    stage: Stage, proxies: Proxies
) -> None:
    """As when what keeps the state of connections in between is restarted: it resets whatever comes on old ones."""
    _, proxy = await behind(stage, proxies)
    clients = [await stage.client() for _ in range(30)]
    await kept(stage, proxy, clients)
    proxy.up.held = True
    for number, client in enumerate(clients):
        client.send(request("GET", f"/{number}"))
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 30)
    await turn(0.02)
    proxy.reset()
    proxy.up.held = False
    for number, client in enumerate(clients):
        assert (await client.answer()).body == f"/{number}".encode()
    assert len(proxy.links) == 60
    await until(lambda: len(stage.gateway.access()) == 60)
    assert {line["attempts"] for line in stage.gateway.access()} == {1}


@contextmanager
def own_socket(stream: Stream) -> Iterator[socket.socket]:
    """The socket under a connection of the test: what is done with it is done now, and in this order."""
    with socket.socket(fileno=os.dup(stream.transport.get_extra_info("socket").fileno())) as one:
        yield one


@pytest.mark.parametrize("how", ["end", "words"])
@ensureDeferred
async def test_what_is_known_to_be_gone_since_this_turn_of_the_loop_is_not_used(stage: Stage, how: str) -> None:
    origin = await stage.origin(own_answer)
    await stage.serve(simple(origin, up=OFF))
    client = await stage.client()
    for number in range(5):
        assert (await client.ask("GET", "/first")).status == 200
        await until(lambda: idle(stage) == 1)
        with own_socket(origin.open[-1]) as upstream, own_socket(client) as downstream:
            if how == "end":
                upstream.shutdown(socket.SHUT_WR)
            else:
                upstream.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            downstream.send(request("POST", f"/{number}", body=b"5"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, f"/{number}".encode())
    assert len(origin.connections) == 6


@ensureDeferred
async def test_a_kept_connection_that_was_gone_says_nothing_of_the_target(stage: Stage, proxies: Proxies) -> None:
    """Nor where the request cannot be sent again."""
    origin, proxy = await behind(stage, proxies, breaker={"failures": 2, "open_for": "1h"})
    client = await stage.client()
    for _ in range(4):
        assert (await client.ask("GET", "/")).status == 200
        proxy.down.held = proxy.up.held = True
        client.send(request("POST", "/pay", body=b"5"))
        await until(lambda: stage.gateway.worker.status()["exchanges_running"])
        origin.open[-1].close()
        proxy.down.held = proxy.up.held = False
        assert (await client.answer()).status == 502
    assert (await client.ask("GET", "/")).status == 200


@ensureDeferred
async def test_gets_under_load_while_idle_connections_go(stage: Stage, proxies: Proxies) -> None:
    origin, proxy = await behind(stage, proxies)
    proxy.up.latency = proxy.down.latency = 0.002
    statuses: list[int] = []
    enough: list[int] = []

    async def ask_on() -> None:
        client = await stage.client()
        while not enough:
            statuses.append((await client.ask("GET", "/")).status)
            await turn(0.004)

    async def answer_and_close(asked: Asked) -> None:
        await own_answer(asked)
        if len(origin.asked) % 3 == 0:
            asked.connection.close()  # without a word of it in the answer

    origin.script = answer_and_close
    running = together(*(ask_on() for _ in range(6)))
    await until(lambda: len(statuses) > 400, within=20.0)
    enough.append(1)
    await running
    assert set(statuses) == {200}
    assert len(origin.connections) > 100


@pytest.mark.parametrize("body", [b"5", b"x" * 200_000])
@pytest.mark.parametrize("how", ["end", "reset"])
@ensureDeferred
async def test_a_post_of_which_an_octet_was_sent_gets_502_and_is_not_sent_again(
    stage: Stage, proxies: Proxies, how: str, body: bytes
) -> None:
    origin, proxy = await behind(stage, proxies, retry={"attempts": 3})
    client = await stage.client()
    assert (await client.ask("GET", "/first")).status == 200
    proxy.down.held = proxy.up.held = True
    client.send(request("POST", "/pay", body=body))
    await until(lambda: stage.gateway.worker.status()["exchanges_running"])
    await turn(0.01)
    proxy.links[-1].reset() if how == "reset" else origin.open[-1].close()
    proxy.down.held = proxy.up.held = False
    answer = await client.answer()
    assert (answer.status, answer.kind) == (502, "upstream-reset")
    assert (await stage.gateway.line(lambda line: line["target"] == "/pay"))["attempts"] == 1
    assert [asked.target for asked in origin.asked].count("/pay") <= 1


@ensureDeferred
async def test_a_post_is_not_sent_on_a_connection_that_is_known_to_be_gone(
    stage: Stage, proxies: Proxies
) -> None:
    origin, proxy = await behind(stage, proxies)
    client = await stage.client()
    for number in range(5):
        assert (await client.ask("POST", f"/{number}", body=b"5")).status == 200
        proxy.reset()
        await until(lambda: idle(stage) == 0)
    assert [asked.target for asked in origin.asked] == [f"/{number}" for number in range(5)]


@ensureDeferred
async def test_a_connection_that_began_to_answer_was_not_stale(stage: Stage, proxies: Proxies) -> None:
    origin, proxy = await behind(stage, proxies)
    client = await stage.client()
    assert (await client.ask("GET", "/first")).status == 200
    proxy.down.reset_after = proxy.links[-1].down.passed + 5  # type: ignore[union-attr]
    answer = await client.ask("GET", "/second")
    # What has a right to be tried again is tried again by `retry`, which is off here.
    assert (answer.status, answer.kind) == (502, "upstream-reset")
    assert [asked.target for asked in origin.asked] == ["/first", "/second"]


@ensureDeferred
async def test_a_kept_connection_that_leads_into_a_black_hole_ends_in_time(
    stage: Stage, proxies: Proxies
) -> None:
    """Nothing tells that it is gone; the time for an answer does, and it is not used again."""
    origin, proxy = await behind(stage, proxies, timeouts={"response": "200ms"})
    client = await stage.client()
    assert (await client.ask("GET", "/first")).status == 200
    proxy.up.hole = proxy.down.hole = True
    assert (await client.ask("GET", "/lost")).status == 504
    proxy.up.hole = proxy.down.hole = False
    assert (await client.ask("GET", "/next")).body == b"/next"
    assert len(origin.connections) == 2
