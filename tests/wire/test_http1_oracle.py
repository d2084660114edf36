"""Properties: what h11 writes we read alike, what we write h11 reads alike, and our two machines agree."""

from __future__ import annotations

from typing import Any

import h11
from grammar import CUTS, FIELDS, METHODS, PIECES, TARGETS, Lines, cut
from hypothesis import given, settings
from hypothesis import strategies as st
from transcripts import told

from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import DEFAULT_LIMITS
from apigateway.wire.message import Event, MessageEnd, Refusal, Request, Response


def fed(machine: Any, data: bytes, sizes: list[int]) -> list[Event]:
    return [event for piece in cut(data, sizes) for event in machine.feed(piece)]


def body_of(events: list[Event]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def framing(length: int | None) -> Lines:
    return [(b"transfer-encoding", b"chunked")] if length is None else [(b"content-length", b"%d" % length)]


def read_by_h11(connection: h11.Connection, data: bytes) -> tuple[list[Any], bytes, Lines]:
    """(heads, body, trailers) as h11 sees them; fails where it sees no end."""
    connection.receive_data(data)
    heads: list[Any] = []
    body = b""
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            raise AssertionError(f"h11 does not see an end: {event}")
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return heads, body, list(event.headers)
        else:
            heads.append(event)


@settings(deadline=None)
@given(METHODS, TARGETS, FIELDS, PIECES, st.booleans(), FIELDS, CUTS)
def test_requests_that_h11_writes(
    method: bytes,
    target: bytes,
    fields: Lines,
    pieces: list[bytes],
    chunked: bool,
    trailers: Lines,
    cuts: list[int],
) -> None:
    peer, body = h11.Connection(h11.CLIENT), b"".join(pieces)
    length = None if chunked else len(body)
    lines = [(b"host", b"gw"), *framing(length), *fields]
    data = peer.send(h11.Request(method=method, target=target, headers=lines)) or b""
    data += b"".join(peer.send(h11.Data(data=piece)) or b"" for piece in pieces)
    data += peer.send(h11.EndOfMessage(headers=trailers if chunked else [])) or b""
    events = fed(Http1Server(DEFAULT_LIMITS), data, cuts)
    request, end = events[0], events[-1]
    assert isinstance(request, Request) and isinstance(end, MessageEnd)
    assert (request.method, request.target, request.length) == (method, target, length)
    assert request.headers.lines == fields
    assert body_of(events) == body
    assert (end.trailers.lines if end.trailers else []) == (trailers if chunked else [])


@settings(deadline=None)
@given(METHODS, TARGETS, FIELDS, PIECES, st.booleans(), FIELDS)
def test_requests_that_h11_reads(
    method: bytes, target: bytes, fields: Lines, pieces: list[bytes], chunked: bool, trailers: Lines
) -> None:
    body = b"".join(pieces)
    request = Request(method, target, Headers(fields), length=None if chunked else len(body))
    machine = Http1Client(DEFAULT_LIMITS)
    data = machine.send_head(request, target=target, host=b"up:80")
    data += b"".join(map(machine.send_data, pieces)) + machine.send_end(Headers(trailers))
    (head,), seen, ends = read_by_h11(h11.Connection(h11.SERVER), data)
    assert (head.method, head.target, seen) == (method, target, body)
    assert [line for line in head.headers if line[0].startswith(b"x-")] == fields
    assert ends == (trailers if chunked else [])


@settings(deadline=None)
@given(METHODS, st.sampled_from([200, 204, 304, 404, 503]), FIELDS, PIECES, st.booleans(), FIELDS, CUTS)
def test_responses_that_h11_writes(
    method: bytes,
    status: int,
    fields: Lines,
    pieces: list[bytes],
    chunked: bool,
    trailers: Lines,
    cuts: list[int],
) -> None:
    bodiless = method == b"HEAD" or status in (204, 304)
    pieces = [] if bodiless else pieces
    body = b"".join(pieces)
    peer = h11.Connection(h11.SERVER)
    read_by_h11(peer, b"%b / HTTP/1.1\r\nHost: up\r\n\r\n" % method)
    lines = [*framing(None if chunked else len(body)), *fields]
    data = peer.send(h11.Response(status_code=status, reason=b"R", headers=lines)) or b""
    data += b"".join(peer.send(h11.Data(data=piece)) or b"" for piece in pieces)
    data += peer.send(h11.EndOfMessage(headers=trailers if chunked and not bodiless else [])) or b""
    machine = Http1Client(DEFAULT_LIMITS)
    machine.send_head(Request(method, b"/", Headers()), target=b"/", host=b"up")
    machine.send_end()
    events = fed(machine, data, cuts)
    response, end = events[0], events[-1]
    assert isinstance(response, Response) and isinstance(end, MessageEnd)
    assert (response.status, response.bodiless, response.headers.lines) == (status, bodiless, fields)
    assert body_of(events) == body
    assert (end.trailers.lines if end.trailers else []) == (trailers if chunked and not bodiless else [])
    assert machine.reusable


@settings(deadline=None)
@given(METHODS, st.sampled_from([200, 204, 304, 404, 503]), FIELDS, PIECES, st.booleans(), FIELDS)
def test_responses_that_h11_reads(
    method: bytes, status: int, fields: Lines, pieces: list[bytes], chunked: bool, trailers: Lines
) -> None:
    bodiless = method == b"HEAD" or status in (204, 304)
    body = b"" if bodiless else b"".join(pieces)
    machine = Http1Server(DEFAULT_LIMITS)
    asked = b"%b / HTTP/1.1\r\nHost: gw\r\nTE: trailers\r\n\r\n" % method
    machine.feed(asked)
    data = machine.send_head(Response(status, Headers(fields), length=None if chunked else len(body)))
    data += b"".join(map(machine.send_data, pieces)) + machine.send_end(Headers(trailers))
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"gw")]))
    peer.send(h11.EndOfMessage())
    (head,), seen, ends = read_by_h11(peer, data)
    assert (head.status_code, seen) == (status, body)
    assert [line for line in head.headers if line[0].startswith(b"x-")] == fields
    assert ends == (trailers if chunked and not bodiless else [])
    assert machine.reusable


@settings(deadline=None)
@given(st.lists(st.tuples(METHODS, TARGETS, FIELDS, PIECES, st.booleans()), min_size=1, max_size=4), CUTS)
def test_two_machines_back_to_back(
    exchanges: list[tuple[bytes, bytes, Lines, list[bytes], bool]], cuts: list[int]
) -> None:
    server, client = Http1Server(DEFAULT_LIMITS), Http1Client(DEFAULT_LIMITS)
    for method, target, fields, pieces, chunked in exchanges:
        body = b"".join(pieces)
        length = None if chunked else len(body)
        sent = client.send_head(
            Request(method, target, Headers(fields), length=length), target=target, host=b"h"
        )
        sent += b"".join(map(client.send_data, pieces)) + client.send_end()
        events = fed(server, sent, cuts)
        request = events[0]
        assert isinstance(request, Request) and isinstance(events[-1], MessageEnd)
        assert (request.method, request.target, request.headers.lines) == (method, target, fields)
        assert body_of(events) == body
        answer = server.send_head(Response(200, Headers(fields), length=length))
        answer += b"".join(map(server.send_data, pieces)) + server.send_end()
        events = fed(client, answer, cuts)
        response = events[0]
        assert isinstance(response, Response) and isinstance(events[-1], MessageEnd)
        assert response.headers.lines == fields
        assert body_of(events) == (b"" if method == b"HEAD" else body)
        assert client.reusable and server.reusable
        assert server.next_request() == []


MESSAGES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk at all",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
)
BLANKS = st.integers(0, 8).map(lambda count: b"\r\n" * count)


def conversation(pieces: list[bytes]) -> list[tuple[Any, ...]]:
    """All events of one connection whose requests are answered as they end."""
    server, seen = Http1Server(DEFAULT_LIMITS), []
    for piece in pieces:
        events = server.feed(piece)
        while events:
            seen += events
            ended, events = isinstance(events[-1], MessageEnd), []
            if ended:
                server.send_head(Response(200, Headers(), length=0))
                server.send_end()
                events = server.next_request()
    return told(seen)


@settings(deadline=None)
@given(st.lists(st.tuples(BLANKS, MESSAGES), min_size=1, max_size=4))
def test_empty_lines_read_apart_from_the_heads_change_nothing(parts: list[tuple[bytes, bytes]]) -> None:
    apart = [piece for blank, message in parts for piece in (blank, message) if piece]
    by_octet = [b"%c" % octet for piece in apart for octet in piece]  # nothing of it comes the short way
    bare = [message for _, message in parts]
    assert conversation(apart) == conversation(by_octet) == conversation(bare)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                b"GET / HTTP/1.1\r\n",
                b"POST /a HTTP/1.1\r\n",
                b"Host: a\r\n",
                b"Content-Length: 3\r\n",
                b"\r\n",
                b"\n",
            ]
            + [
                b"Transfer-Encoding: chunked\r\n",
                b"3\r\nabc\r\n",
                b"0\r\n\r\n",
                b"abc",
                b"Connection: upgrade\r\n",
            ]
            + [
                b"Upgrade: websocket\r\n",
                b" ",
                b"\r",
                b"A: b\r\n",
                b"HTTP/1.1 200 OK\r\n",
                b"\x00",
                b"5;a=b\r\n",
            ]
        )
        | st.binary(max_size=5),
        max_size=15,
    ),
    CUTS,
)
def test_any_octets_give_events_in_order_however_they_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole, cut_up = Http1Server(DEFAULT_LIMITS), Http1Server(DEFAULT_LIMITS)
    at_once, bit_by_bit = whole.feed(data), fed(cut_up, data, cuts)
    assert [type(event) for event in at_once if type(event) is not bytes] == [
        type(event) for event in bit_by_bit if type(event) is not bytes
    ]
    refused = bool(at_once) and isinstance(at_once[-1], Refusal)
    assert refused or body_of(at_once) == body_of(bit_by_bit)
    client = Http1Client(DEFAULT_LIMITS)
    client.send_head(Request(b"GET", b"/", Headers()), target=b"/", host=b"a")
    assert all(event.status == 502 for event in fed(client, data, cuts) if isinstance(event, Refusal))
