"""RC-O06: framing in doubt. A request is refused and its connection ends; a response is not believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import HOST
from toolkit.origin import Asked, answering
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.waiting import turn, until

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: gw.test\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"

# In the head: nothing of it reaches an upstream.
HEADS = {
    "both": (["Content-Length: 6", CHUNKED], b"0\r\n\r\nG"),
    "both, the other way round": ([CHUNKED, "Content-Length: 6"], b"0\r\n\r\nG"),
    "both, with another request for a body": (["Content-Length: 4", CHUNKED], b"0\r\n\r\n"),
    "chunked, identity": (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
    "chunked and identity on lines of their own": ([CHUNKED, "Transfer-Encoding: identity"], b"0\r\n\r\n"),
    "identity with a length": (["Transfer-Encoding: identity", "Content-Length: 6"], b"abcdef"),
    "identity alone": (["Transfer-Encoding: identity"], b""),
    "a space before the colon": (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    "a space before the colon, and a length": (["Transfer-Encoding : chunked", "Content-Length: 6"], b"0\r\n\r\nG"),
    "a tab before the colon": (["Transfer-Encoding\t: chunked"], b"0\r\n\r\n"),
    "a folded line": (["Transfer-Encoding:", " chunked", "Content-Length: 6"], b"0\r\n\r\nG"),
    "chunked twice": (["Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n"),
    "an empty coding": (["Transfer-Encoding:"], b"0\r\n\r\n"),
    "two lengths": (["Content-Length: 6", "Content-Length: 0"], b"abcdef"),
    "two lengths in one line": (["Content-Length: 6, 0"], b"abcdef"),
    "the same length twice": (["Content-Length: 6", "Content-Length: 6"], b"abcdef"),
    "a sign": (["Content-Length: +6"], b"abcdef"),
    "a hexadecimal length": (["Content-Length: 0x6"], b"abcdef"),
    "a length with an underscore": (["Content-Length: 0_6"], b"abcdef"),
    "no length": (["Content-Length:"], b""),
}

# In the body, when its head may be on its way: no upstream may take it for whole.
BODIES = {
    "a hexadecimal chunk size": b"0x6\r\nabcdef\r\n0\r\n\r\n",
    "a chunk size with a sign": b"+6\r\nabcdef\r\n0\r\n\r\n",
    "a chunk size with a space before it": b" 6\r\nabcdef\r\n0\r\n\r\n",
    "an underscore in a chunk size": b"0_6\r\nabcdef\r\n0\r\n\r\n",
    "a chunk size of too many digits": b"1" * 17 + b"\r\nabcdef",
    "no chunk size": b"\r\nabcdef\r\n0\r\n\r\n",
    "a bare line feed behind a chunk size": b"6\nabcdef\r\n0\r\n\r\n",
    "a bare line feed behind a chunk": b"6\r\nabcdef\n0\r\n\r\n",
    "a bare line feed behind an extension": b"6;a=b\nabcdef\r\n0\r\n\r\n",
    "a bare line feed at the end": b"6\r\nabcdef\r\n0\r\n\n",
    "a bare line feed behind the last size": b"6\r\nabcdef\r\n0\n\r\n",
    "a chunk longer than its size": b"6\r\nabcdefgh\r\n0\r\n\r\n",
    "no line end behind a chunk": b"6\r\nabcdef0\r\n\r\n",
}


def written(lines: list[str], body: bytes) -> bytes:
    return "\r\n".join(["POST /in HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode() + body


async def refused(stage: Stage, octets: bytes, by_octet: bool) -> None:
    """400 and close, and what stands behind is no request."""
    client = await stage.client()
    for piece in [octets[at : at + 1] for at in range(len(octets))] if by_octet else [octets]:
        client.send(piece)
        await turn()
    client.send(SMUGGLED)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (400, "close")
    assert await client.rest() == b""


@pytest.mark.parametrize("by_octet", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize(("lines", "body"), HEADS.values(), ids=HEADS)
@ensureDeferred
async def test_rc_o06_a_head_in_doubt(stage: Stage, lines: list[str], body: bytes, by_octet: bool) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    await refused(stage, written(lines, body), by_octet)
    assert origin.asked == [] and origin.connections == []


@pytest.mark.parametrize("kept", [False, True], ids=["new upstream connection", "kept upstream connection"])
@pytest.mark.parametrize("by_octet", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@ensureDeferred
async def test_rc_o06_a_body_in_doubt(stage: Stage, body: bytes, by_octet: bool, kept: bool) -> None:
    whole: list[str] = []

    async def script(asked: Asked) -> None:
        await asked.read()
        whole.append(asked.target)
        asked.answer(200, b"ok")

    origin = await stage.origin(script)
    await stage.serve(simple(origin))
    if kept:
        assert (await stage.ask("GET", "/before")).status == 200
    await refused(stage, written([CHUNKED], body), by_octet)
    assert (await stage.ask("GET", "/after")).status == 200
    assert whole == (["/before", "/after"] if kept else ["/after"])
    assert "/smuggled" not in [asked.target for asked in origin.asked]


BOTH = "Content-Length: 5\r\nTransfer-Encoding: chunked"
RESPONSES = {
    "both": f"{BOTH}\r\n\r\n0\r\n\r\n",
    "both, the other way round": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked, identity": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity with a length": "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "a length with a sign": "Content-Length: +5\r\n\r\nhello",
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("fields", RESPONSES.values(), ids=RESPONSES)
@ensureDeferred
async def test_rc_o06_a_response_in_doubt(stage: Stage, fields: str, version: str) -> None:
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
    origin = await stage.origin(
        lambda asked: asked.send(f"HTTP/{version} 200 OK\r\n{fields}".encode() + smuggled)
    )
    await stage.serve(simple(origin, up={"retry": {"attempts": 1}, "health": {"passive": None}}))
    client = await stage.client()
    answer = await client.ask("GET", "/in")
    assert (answer.status, answer.kind) == (502, "bad-response")
    await until(lambda: not origin.open)
    origin.script = answering(200, b"fresh")
    for _ in range(3):  # the client's own connection lives on, and gets nobody else's octets
        answer = await client.ask("GET", "/next")
        assert (answer.status, answer.body) == (200, b"fresh")
    assert len(origin.connections) == 2


@ensureDeferred
async def test_rc_o06_neither_framing_field_is_believed_beside_the_other_in_what_goes_on(stage: Stage) -> None:
    """What is passed on has one framing field, written anew, whatever was named in Connection."""
    origin = await stage.origin()
    await stage.serve(simple(origin))
    sent: list[tuple[list[str], bytes]] = [
        (["Content-Length: 006", "Connection: Content-Length"], b"abcdef"),
        ([CHUNKED, "Connection: Transfer-Encoding", "Content_Length: 1"], b"6;a=b\r\nabcdef\r\n0\r\n\r\n"),
    ]
    framing: list[Callable[[Any], Any]] = [
        lambda asked: asked.all("content-length") == ["6"] and not asked.all("transfer-encoding"),
        lambda asked: asked.all("transfer-encoding") == ["chunked"] and not asked.all("content-length"),
    ]
    for (lines, body), has in zip(sent, framing, strict=True):
        client = await stage.client()
        client.send(written(lines, body))
        assert (await client.answer()).status == 200
        assert has(origin.last), origin.last.raw
        assert origin.last.body == b"abcdef" and "content_length" not in origin.last.names
