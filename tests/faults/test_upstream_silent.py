"""Fault 20: an upstream that says nothing, or stops midway. 504 in time, and its connection is not used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import simple, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, turn, until

Proxies = Callable[..., FaultProxy]
LIMIT = 0.3
QUICK: dict[str, Any] = {"timeouts": {"response": "300ms"}}


async def say_the_target(asked: Asked) -> None:
    """Answer with what was asked for, so that an answer to another request would show."""
    await asked.read()
    asked.answer(200, asked.target.encode())


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
@ensureDeferred
async def test_silence_gives_504_and_the_late_answer_reaches_nobody(
    stage: Stage, proxies: Proxies, way: str, kept: bool, method: str
) -> None:
    origin = await stage.origin(say_the_target)
    proxy = proxies((origin.address, origin.port))
    await stage.serve(simple(proxy, up=QUICK))
    body = b"5" if method == "POST" else None
    client = await stage.client()
    if kept:
        assert (await client.ask(method, "/before", body=body)).body == b"/before"
    faulty = getattr(proxy, way)
    faulty.held = True
    began = reactor.seconds()
    answer = await client.ask(method, "/lost", body=body)
    assert (answer.status, answer.kind) == (504, "response-timeout")
    assert LIMIT * 0.9 < reactor.seconds() - began < 3.0
    line = await stage.gateway.line(lambda line: line["target"] == "/lost")
    assert (line["attempts"], line["fault"]["type"]) == (1, "response-timeout")
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["active"], target["connections"]) == (0, {"idle": 0, "busy": 0})
    faulty.held = False
    await until(lambda: not proxy.open)
    for number in range(3):
        assert (await client.ask(method, f"/{number}", body=body)).body == f"/{number}".encode()
    assert [asked.target for asked in origin.asked].count("/lost") <= 1


@ensureDeferred
async def test_a_get_may_go_elsewhere_after_silence_and_a_post_does_not(
    stage: Stage, proxies: Proxies
) -> None:
    silent, origin = await stage.origin(), await stage.origin()
    proxy = proxies((silent.address, silent.port), "silent")
    proxy.down.hole = True
    more = {**QUICK, "retry": {"retry_on": ["timeout"]}, "health": {"passive": None}}
    await stage.serve({**simple(proxy), "upstreams": [upstream(proxy, origin, **more)]})
    client = await stage.client()
    for number in range(2):
        assert (await client.ask("GET", f"/{number}")).status == 200
    answers = [await client.ask("POST", f"/pay{number}", body=b"5") for number in range(2)]
    assert sorted(answer.status for answer in answers) == [200, 504]
    assert [asked.target[:4] for asked in silent.asked + origin.asked].count("/pay") == 2


@pytest.mark.parametrize(
    "begun", [b"H", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nX: y\r\n"]
)
@ensureDeferred
async def test_a_head_that_stops(stage: Stage, begun: bytes) -> None:
    origin = await stage.origin(lambda asked: asked.send(begun))
    await stage.serve(simple(origin, up=QUICK))
    client = await stage.client()
    answer = await client.ask("GET", "/")
    assert (answer.status, answer.kind) == (504, "response-timeout")
    await until(lambda: not origin.open)
    origin.script = say_the_target
    assert (await client.ask("GET", "/next")).body == b"/next"


@ensureDeferred
async def test_a_head_that_comes_octet_by_octet_does_not_buy_time(stage: Stage, proxies: Proxies) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Pad: " + b"x" * 4000 + b"\r\n\r\n"
    origin = await stage.origin(lambda asked: asked.send(head))
    proxy = proxies((origin.address, origin.port))
    proxy.down.slice, proxy.down.rate = 1, 50
    await stage.serve(simple(proxy, up=QUICK))
    began = reactor.seconds()
    assert (await stage.ask("GET", "/")).status == 504
    assert reactor.seconds() - began < 3.0


@pytest.mark.parametrize("status", [100, 102, 103])
@ensureDeferred
async def test_an_interim_answer_and_then_silence(stage: Stage, status: int) -> None:
    origin = await stage.origin(lambda asked: asked.send(b"HTTP/1.1 %d Wait\r\n\r\n" % status))
    await stage.serve(simple(origin, up=QUICK))
    began = reactor.seconds()
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (504, "response-timeout")
    assert [one.start for one in answer.interim] == ([] if status == 100 else [answer.interim[0].start])
    assert LIMIT * 0.9 < reactor.seconds() - began < 3.0
    await until(lambda: not origin.open)


@ensureDeferred
async def test_interim_answers_without_end_do_not_buy_time(stage: Stage) -> None:
    async def stall(asked: Asked) -> None:
        while not asked.connection.closed and not asked.connection.ended:
            asked.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await turn(0.02)

    origin = await stage.origin(stall)
    await stage.serve(simple(origin, up=QUICK))
    began = reactor.seconds()
    answer = await stage.ask("GET", "/")
    # By its time, or by their number.
    assert answer.status in (502, 504)
    assert reactor.seconds() - began < 3.0
    await until(lambda: not origin.open)


@ensureDeferred
async def test_an_interim_answer_does_not_begin_the_wait_for_an_upload_anew(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.send(b"HTTP/1.1 100 Continue\r\n\r\n"))
    await stage.serve(simple(origin, up=QUICK))
    client = await stage.client()
    client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await client.past(b"100 Continue\r\n\r\n")
    client.send(b"55")
    answer = await client.answer()
    assert (answer.status, answer.kind) == (504, "response-timeout")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@ensureDeferred
async def test_a_body_that_stops_is_cut_off_and_does_not_look_whole(stage: Stage, framing: str) -> None:
    octets = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\n01234\r\n".encode()
    origin = await stage.origin(lambda asked: asked.send(octets))
    await stage.serve(simple(origin, up={"timeouts": {"idle": "200ms"}}))
    client = await stage.client()
    client.send(request("GET", "/"))
    raw = await client.rest()
    assert raw.startswith(b"HTTP/1.1 200 ") and not raw.endswith(b"0\r\n\r\n")
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"]) == (200, "response-timeout")
    await until(lambda: not origin.open)
