"""HTTP/1 on both sides: however the octets are cut, the same is read; and what is passed on is read alike."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from apigateway.wire.headers import Headers, checked
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import Limits
from apigateway.wire.message import Event, Interim, MessageEnd, Refusal, Request, Response
from fuzzing.target import Target

# Small ones, so that inputs of a few hundred octets meet them.
LIMITS = Limits(
    max_target=200,
    max_head=1000,
    max_field=300,
    max_fields=12,
    max_trailers=200,
    max_body=4000,
    max_chunk_extensions=64,
)
Told = list[tuple[Any, ...]]


def cuts(data: bytes) -> list[list[bytes]]:
    """Whole, octet by octet, and in two and in three at places that the data itself decides."""
    mark = zlib.crc32(data)
    one, other = sorted((mark % (len(data) + 1), (mark >> 16) % (len(data) + 1)))
    pieces = [[data[:one], data[one:]], [data[:one], data[one:other], data[other:]]]
    singly = [data[at : at + 1] for at in range(len(data))] if len(data) <= 4000 else [data]
    return [[data], singly, *[[piece for piece in pieces if piece] for pieces in pieces]]


def alike(read: Callable[[list[bytes]], Told], data: bytes) -> Told:
    """What is read of the data; an assertion where it depends on the cuts."""
    whole, *others = (read(pieces) for pieces in cuts(data))
    for told in others:
        assert told == whole, f"cut up: {told!r}; whole: {whole!r}"
    return whole


# ---- requests


def read_requests(pieces: list[bytes]) -> Told:
    """All events of a connection whose requests are answered as they end."""
    server = Http1Server(LIMITS)
    events: list[Event] = []
    for piece in pieces:
        if not answered(server, server.feed(piece), events):
            return told(events)
    events += server.eof()
    return told(events)


def answered(server: Http1Server, new: list[Event], events: list[Event]) -> bool:
    """Add events, answering what is complete, for as long as there are requests.

    False after one that asked for another protocol: whether what follows is read depends on what had come by then.
    """
    while new:
        events += new
        ended = isinstance(new[-1], MessageEnd)
        if ended and any(isinstance(event, Request) and event.upgrade for event in events):
            return False
        new = []
        if ended:
            server.send_head(Response(200, Headers(), length=0))
            server.send_end()
            new = server.next_request()
    return True


def attempt_requests(data: bytes) -> None:
    alike(read_requests, data)
    server, events = Http1Server(LIMITS), []  # type: ignore[var-annotated]
    answered(server, server.feed(data), events)
    for message in messages(events):
        request, body, end = message
        assert isinstance(request, Request)
        sound(request.headers)
        if end is not None:
            passed_on(request, body, end)


def passed_on(request: Request, body: bytes, end: MessageEnd) -> None:
    """What goes to an upstream is one request, the same, and nothing behind it."""
    client = Http1Client(LIMITS)
    sent = client.send_head(request, target=request.target, host=request.authority or b"up")
    sent += client.send_data(body) + client.send_end(end.trailers)
    server, events = Http1Server(Limits()), []  # type: ignore[var-annotated]
    answered(server, server.feed(sent), events)
    again = messages(events)
    assert len(again) == 1 and again[0][2] is not None, f"{sent!r} is read as {told(events)!r}"
    seen = again[0][0]
    assert isinstance(seen, Request)
    assert (seen.method, seen.target, again[0][1]) == (request.method, request.target, body), sent
    assert seen.headers.lines == [line for line in request.headers.lines if line[0] != b"trailer"], sent


# ---- responses


def read_responses(method: bytes, upgrade: bytes) -> Callable[[list[bytes]], Told]:
    """All events of the answer to one request."""

    def read(pieces: list[bytes]) -> Told:
        client = Http1Client(LIMITS)
        asked = Request(method, b"/", Headers(), upgrade=upgrade)
        client.send_head(asked, target=b"/", host=b"up")
        client.send_end()
        events: list[Event] = []
        for number, piece in enumerate(pieces, 1):
            events += client.feed(piece)
            if events and isinstance(events[-1], MessageEnd):
                # What comes behind it belongs to nobody: told, where it comes later, and a reason to end in any case.
                clean = client.reusable and number == len(pieces)
                return [*told(events), ("reusable", clean)]
        events += client.eof()
        return told(events)

    return read


def attempt_responses(data: bytes) -> None:
    """The first octet decides what was asked."""
    first, rest = data[:1], data[1:]
    methods = (b"GET", b"HEAD", b"POST", b"GET")
    upgrade = b"websocket" if first == b"3" else b""
    alike(read_responses(methods[(first or b"0")[0] % 4], upgrade), rest)


# ---- both


def told(events: list[Event]) -> Told:
    """Events as values; pieces of a body next to each other become one."""
    lines: Told = []
    for event in events:
        if isinstance(event, bytes):
            if lines and lines[-1][0] == "body":
                event = lines.pop()[1] + event
            lines.append(("body", event))
        elif isinstance(event, Request):
            ends = event.length, event.persistent, event.upgrade, event.expect_continue
            lines.append(
                (
                    "request",
                    event.method,
                    event.target,
                    event.authority,
                    event.headers.lines,
                    event.forwarded,
                    ends,
                )
            )
        elif isinstance(event, Response):
            sound(event.headers)
            lines.append(("response", event.status, event.reason, event.length, event.headers.lines))
        elif isinstance(event, Interim):
            lines.append(("interim", event.status, event.headers.lines))
        elif isinstance(event, MessageEnd):
            lines.append(("end", event.trailers.lines if event.trailers is not None else None))
        else:
            # Said as soon as it is certain: with which status, and after how much of a body, depends on how much had
            # come by then.
            if lines and lines[-1][0] == "body":
                del lines[-1]
            lines.append(("refusal",))
    return lines


def messages(events: list[Event]) -> list[tuple[Event, bytes, MessageEnd | None]]:
    """(head, body, end or None where it has none) of every message."""
    found: list[tuple[Event, bytes, MessageEnd | None]] = []
    for event in events:
        if isinstance(event, Request | Response):
            found.append((event, b"", None))
        elif isinstance(event, bytes):
            found[-1] = (found[-1][0], found[-1][1] + event, None)
        elif isinstance(event, MessageEnd):
            found[-1] = (found[-1][0], found[-1][1], event)
        else:
            assert isinstance(event, Refusal | Interim)
    return found


def sound(headers: Headers) -> None:
    """Whatever was let in may be written again."""
    for name, value in headers.lines:
        checked(name, value)


WORDS = tuple(
    b"\r\n|\n|\r\n\r\n|Host: a\r\n|Content-Length: 3\r\n|Content-Length: 0\r\n|Transfer-Encoding: chunked\r\n"
    b"|Transfer-Encoding: gzip, chunked\r\n|Connection: close\r\n|Connection: upgrade, x-a\r\n|Upgrade: websocket\r\n"
    b"|Expect: 100-continue\r\n|TE: trailers\r\n|Trailer: X-T\r\n|X-Forwarded-For: 1.2.3.4\r\n|X_Real_IP: a\r\n"
    b"|0\r\n\r\n|3\r\nabc\r\n|3;a=b\r\nabc\r\n|ffffffffffffffff\r\n|abc| HTTP/1.1\r\n| HTTP/1.0\r\n|HTTP/2.0|http://b/"
    b"|GET |POST |OPTIONS * |CONNECT |PRI * HTTP/2.0|HTTP/1.1 200 OK\r\n|HTTP/1.1 100 \r\n|HTTP/1.1 204 \r\n|:|;|,| |\t"
    b"|\x00|\xff|\r".split(b"|")
)
_REQUESTS = (
    b"GET /a?b=c HTTP/1.1\r\nHost: gw.test\r\nAccept: */*\r\nX-A: 1\r\n\r\n",
    b"POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
    b'3;x="y"\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: 1\r\n\r\n',
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nMax-Forwards: 1\r\n\r\n",
    b"\r\nPUT http://a.test:80/x;y/%2e HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n"
    b'Forwarded: for="[::1]"\r\n\r\n',
)
_RESPONSES = tuple(
    asked + answer
    for asked, answer in (
        (b"0", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok"),
        (b"2", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
        (
            b"0",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: </a>\r\n\r\nHTTP/1.0 404 No\r\n\r\nuntil the end",
        ),
        (
            b"1",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5, max=100\r\nConnection: keep-alive\r\n\r\n",
        ),
        (
            b"3",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01a",
        ),
        (b"0", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n'),
        (b"0", b"HTTP/1.1 204 No Content\r\n\r\n"),
    )
)
TARGETS = (
    Target("http1 requests", attempt_requests, _REQUESTS, WORDS),
    Target("http1 responses", attempt_responses, _RESPONSES, WORDS),
)
