"""Fault 22: an upstream that breaks the rules of framing. 502, or what is too much goes nowhere; its connection ends,
and the next client gets its own answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.waiting import together, until

Proxies = Callable[..., FaultProxy]
ONCE: dict[str, Any] = {
    "retry": {"attempts": 1}, "health": {"passive": None}, "timeouts": {"response": "300ms", "idle": "300ms"},
}
OK = b"HTTP/1.1 200 OK\r\n"
SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Smuggled: 1\r\n\r\nsmuggled"

NOT_UNDERSTOOD = {
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "a list of two lengths": OK + b"Content-Length: 5, 6\r\n\r\n12345",
    "a length with a sign": OK + b"Content-Length: +5\r\n\r\n12345",
    "a length in hexadecimals": OK + b"Content-Length: 0x5\r\n\r\n12345",
    "a length without end": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "no version": b"HTTP 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"220 smtp.example.test ESMTP\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a version to come": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "no line of its own": b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    "a NUL in a value": OK + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a CR in a value": OK + b"X-A: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "a name with a space": OK + b"X A: b\r\nContent-Length: 0\r\n\r\n",
    "a name with a space behind it": OK + b"Content-Length : 0\r\n\r\n",
    "a line without a colon": OK + b"nonsense\r\nContent-Length: 0\r\n\r\n",
    "a folded line": OK + b"X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a head without end": OK + b"X-A: " + b"a" * 100_000,
    "fields without end": OK + b"".join(b"X-%d: a\r\n" % number for number in range(1000)),
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


async def own_answer(asked: Asked) -> None:
    """Answer with the target, so that an answer to somebody else would show."""
    await asked.read()
    asked.answer(200, asked.target.encode())


@pytest.mark.parametrize("octets", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
@ensureDeferred
async def test_a_head_that_cannot_be_understood_gives_502(stage: Stage, octets: bytes) -> None:
    origin = await stage.origin(lambda asked: asked.send(octets + SMUGGLED))
    await stage.serve(simple(origin, up=ONCE))
    client = await stage.client()
    answer = await client.ask("GET", "/bad")
    assert (answer.status, answer.kind) == (502, "bad-response")
    await until(lambda: not origin.open)
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"], line["attempts"]) == (502, "bad-response", 1)
    origin.script = own_answer
    for number in range(3):
        answer = await client.ask("GET", f"/{number}")
        assert (answer.status, answer.body) == (200, f"/{number}".encode())


IN_THE_BODY = {
    "not a size": b"xyz\r\n",
    "a size with a sign": b"+5\r\n12345\r\n",
    "a size of too many digits": b"fffffffffffffffff\r\n",
    "no end of the chunk": b"5\r\n1234567\r\n",
    "a bare line feed": b"5\n12345\n0\n\n",
    "a control character in an extension": b"5;a\0b\r\n12345\r\n",
    "trailers that are none": b"5\r\n12345\r\n0\r\nno colon\r\n\r\n",
}


@pytest.mark.parametrize("octets", IN_THE_BODY.values(), ids=IN_THE_BODY)
@ensureDeferred
async def test_chunks_that_are_none_never_look_whole(stage: Stage, octets: bytes) -> None:
    origin = await stage.origin(
        lambda asked: asked.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n" + octets + SMUGGLED)
    )
    await stage.serve(simple(origin, up=ONCE))
    client = await stage.client()
    client.send(request("GET", "/"))
    raw = await client.rest()
    assert b"\r\n0\r\n" not in raw and b"smuggled" not in raw
    await until(lambda: not origin.open)
    assert (await stage.gateway.line())["fault"]["type"] in ("bad-response", "incomplete-response")


TOO_MUCH = {
    "behind a length": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "behind the last chunk": (
        "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok",
    ),
    "behind nothing": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "behind 204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "behind 304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, b""),
    "behind the answer to HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 200, b""),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("method", "octets", "status", "body"), TOO_MUCH.values(), ids=TOO_MUCH)
@ensureDeferred
async def test_octets_behind_a_response_go_nowhere_and_end_the_connection(
    stage: Stage, method: str, octets: bytes, status: int, body: bytes, late: bool
) -> None:
    async def script(asked: Asked) -> None:
        if asked.target == "/bad":
            asked.send(octets if late else octets + SMUGGLED)
        else:
            await own_answer(asked)

    origin = await stage.origin(script)
    await stage.serve(simple(origin, up=ONCE))
    client = await stage.client()
    answer = await client.ask(method, "/bad")
    assert (answer.status, answer.body) == (status, body)
    if late:  # when the connection was given back to the pool
        await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["connections"]["idle"] == 1)
        origin.open[0].send(SMUGGLED)
    await until(lambda: not origin.open)
    for number in range(3):
        answer = await client.ask("GET", f"/{number}")
        assert (answer.status, answer.body, answer.get("x-smuggled")) == (200, f"/{number}".encode(), None)


@ensureDeferred
async def test_many_at_once_all_get_their_own_answers(stage: Stage) -> None:
    async def script(asked: Asked) -> None:
        await own_answer(asked)
        if asked.target.endswith("3"):
            asked.send(SMUGGLED)

    origin = await stage.origin(script)
    await stage.serve(simple(origin, up={"retry": {"attempts": 4, "budget": "100%"}}))

    async def ask_on(name: int) -> None:
        client = await stage.client()
        for number in range(25):
            answer = await client.ask("GET", f"/{name}/{number}")
            assert answer.body == f"/{name}/{number}".encode()

    await together(*(ask_on(name) for name in range(6)))


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
@ensureDeferred
async def test_one_turned_bit_anywhere_in_a_response_harms_only_that_one(
    stage: Stage, proxies: Proxies, flip: int
) -> None:
    octets = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Name: value\r\n\r\nbody"
    origin = await stage.origin(lambda asked: asked.send(octets))
    proxy = proxies((origin.address, origin.port))
    proxy.down.flip = flip
    await stage.serve(simple(proxy, up={**ONCE, "timeouts": {"response": "1s", "idle": "100ms"}}))
    statuses = set()
    for place in range(len(octets)):
        proxy.down.corrupt_at = place
        client = await stage.client()
        client.send(request("GET", "/", "Connection: close"))
        await until(lambda client=client: client.ended)  # type: ignore[misc]
        statuses.add(int(client.record[9:12] or b"0"))
        proxy.down.corrupt_at = None
        assert (await stage.ask("GET", "/next")).body == b"body", place
        proxy.reset()
        await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["connections"]["idle"] == 0)
    assert {200, 502} <= statuses
