"""Faults 1 to 5: a request whose end can be read in two ways is refused, and what it hides is never read."""

from __future__ import annotations

import pytest
from hostile import SMUGGLED, answered_once, nothing_came
from pytest_twisted import ensureDeferred
from test_http1_strictness import REFUSED
from toolkit.origin import Asked
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.waiting import until

POST = b"POST /up HTTP/1.1\r\nHost: gw.test\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDING = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"


def lengths(*values: bytes) -> bytes:
    """A request with these Content-Length lines; its body is a request."""
    return POST + b"".join(b"Content-Length: " + value + b"\r\n" for value in values) + b"\r\n" + SMUGGLED


def codings(*values: bytes, version: bytes = b"1.1") -> bytes:
    """A request with these Transfer-Encoding lines; its body is a request in one chunk."""
    lines = b"".join(b"Transfer-Encoding: " + value + b"\r\n" for value in values)
    return POST.replace(b"1.1", version) + lines + b"\r\n" + HIDING


FRAMINGS = {
    "1: both framings": [
        (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDING),
        (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + HIDING),
        (400, POST + b"content-length: 0\r\nTRANSFER-ENCODING: Chunked\r\n\r\n" + HIDING),
        (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    ],
    "2: lengths that are not one number": [
        (400, lengths(b"5", b"6")),
        (400, lengths(b"5", b"5")),
        *((400, lengths(odd)) for odd in (b"5, 6", b"5, 5", b"+5", b"-1", b"0x5", b"5_0", b"", b"5 5", b"5.0")),
        (400, lengths(b"9223372036854775808")),
        (400, lengths(b"1" + b"0" * 400)),
    ],
    "3: codings that do not end in one chunked": [
        (400, codings(b"chunked, identity")),
        (400, codings(b"identity")),
        (400, codings(b"xchunked")),
        (400, codings(b"chunked, chunked")),
        (400, codings(b"chunked", b"chunked")),
        (400, codings(b"chunked", b"identity")),
        (400, codings(b"\x0bchunked")),
        (501, codings(b"gzip, chunked")),
        (501, codings(b"x-unheard-of", b"chunked")),
    ],
    "4: a coding in HTTP/1.0": [
        (400, codings(b"chunked", version=b"1.0")),
        (400, codings(b"identity", version=b"1.0")),
        (400, POST.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDING),
    ],
}


@pytest.mark.parametrize("requests", FRAMINGS.values(), ids=FRAMINGS.keys())
@ensureDeferred
async def test_1_to_4_a_framing_that_two_may_read_in_two_ways_reaches_nobody(
    stage: Stage, requests: list[tuple[int, bytes]]
) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    for status, octets in requests:
        assert (await answered_once(stage, octets)).status == status, octets
        # In two reads, cut in the end of the head, nothing changes.
        head, end, body = octets.partition(b"\r\n\r\n")
        assert (await answered_once(stage, head + end[:2], end[2:] + body)).status == status, octets
    await nothing_came(stage, origin, [status for status, _ in requests for _ in range(2)])


@ensureDeferred
async def test_whatever_the_wire_refuses_reaches_no_origin_whole(stage: Stage) -> None:
    """Each request of the wire's own table; those refused in their body may have been begun."""
    origin = await stage.origin()
    await stage.serve(simple(origin))
    for status, octets in REFUSED:
        client = await stage.client()
        client.send(octets)
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (status, "close"), octets
        assert await client.rest() == b"", octets
        client.send(SMUGGLED)
        client.close()
    # Not even a head: an upstream is connected to first, and by then the request was refused.
    await until(lambda: not origin.open)
    assert (await stage.ask("GET", "/good")).status == 200
    assert [asked.target for asked in origin.asked] == ["/good"]
    await stage.gateway.line(lambda line: line["target"] == "/good")
    assert len(stage.gateway.access()) == len(REFUSED) + 1


# Behind a first chunk "hello" that was good.
CHUNKS = [
    b"0x5\r\nhello\r\n",
    b"5_0\r\n",
    b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"\r\n",
    b";\r\nhello\r\n",
    b"1" * 17 + b"\r\n",
    b"0" * 32 + b"5\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5;a\nhello\r\n",
    b"5;a\x00b\r\nhello\r\n",
    b"5;a\rb\r\nhello\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello!!0\r\n\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\r\nContent-Length: 3\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
]


@pytest.mark.parametrize("bad", CHUNKS, ids=repr)
@ensureDeferred
async def test_5_a_broken_chunk_never_looks_like_the_end_to_an_origin_that_reads_along(
    stage: Stage, bad: bytes
) -> None:
    read: list[bytes] = []

    async def read_all(asked: Asked) -> None:
        read.append(await asked.read())
        asked.answer(200, b"all of it")

    origin = await stage.origin(read_all)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(CHUNKED + b"5\r\nhello\r\n")
    await until(lambda: origin.asked and b"hello" in origin.connections[0].record)
    client.send(bad + SMUGGLED)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (400, "close")
    assert await client.rest() == b""
    await until(lambda: not origin.open)
    client.close()
    assert read == [] and len(origin.asked) == 1
    _, _, body = bytes(origin.connections[0].record).partition(b"\r\n\r\n")
    assert body.startswith(b"5\r\nhello\r\n") and b"\r\n0\r\n" not in body and b"smuggled" not in body
