"""Properties of the wire: no message depends on how it is cut, h11 reads no accepted one differently, what one of our
machines writes the other reads, and no order of calls brings anything but events in order."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from grammar import (
    CUTS,
    FIELDS,
    METHODS,
    PIECES,
    REQUEST_STREAMS,
    REQUESTS,
    RESPONSE_STREAMS,
    TARGETS,
    TRAILERS,
    Lines,
    cut,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transcripts import answered, asked, splits, told

from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import DEFAULT_LIMITS
from apigateway.wire.message import Event, Interim, MessageEnd, Refusal, Request, Response

# ---- cuts

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: gw\r\nX-A: b\r\n"
REQUEST_CORPUS = {
    "no body": b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n",
    "length": HEAD + b"Content-Length: 5\r\n\r\nhello",
    "length of nothing": HEAD + b"Content-Length: 0\r\n\r\n",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "chunks that look like ends": HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n0\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
    "extensions and trailers": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5;a=\"b c\"\r\nhello\r\n000;x\r\nX-T: 1\r\nHost: no\r\n\r\n",
    "pipelined": HEAD
    + b"Content-Length: 2\r\n\r\nab"
    + HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" * 2,
    "behind the last": HEAD + b"Connection: close\r\n\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + HEAD + b"\r\n\r\n" + HEAD + b"\r\n",
    "HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na",
    "absolute form": b"GET http://other:1/a HTTP/1.1\r\nHost: gw\r\n\r\n",
    "both framings": HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "two lengths": HEAD + b"Content-Length: 6\r\nContent-Length: 7\r\n\r\nabcdefg",
    "no host": b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: gw\r\nX-A: b\r\n c\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: gw\n\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: gw\rX-A: b\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: gw\r\nX-A: b\x00\r\n\r\n",
    "no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n0\r\n\r\n",
    "size and LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "unknown method": b"FOOBAR / HTTP/1.1\r\nHost: gw\r\n\r\n",
    "no method": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2's preface with a host": b"PRI * HTTP/2.0\r\nHost: gw\r\n\r\nSM\r\n\r\n",
    "a future version and half a line end": b"GET / HTTP/1.2\nHost: gw\r\n\r\n",
    "another protocol": b"PUT / RTSP/1.0\r\nHost: gw\r\n\r\n",
    "a future version": b"GET / HTTP/3.1\r\nHost: gw\r\n\r\n",
    "white space behind values": b"GET / HTTP/1.1\r\nHost: gw \t\r\nX-A:  b \r\nX-A:\r\n\r\n",
}
OK = b"HTTP/1.1 200 OK\r\nX-A: b\r\n"
RESPONSE_CORPUS = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "until the close": OK + b"\r\nhello\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    + OK + b"Content-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na",
    "both framings": OK + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cut off": OK + b"Content-Length: 6\r\n\r\nabc",
    "cut off chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "interim with a wrong length": b"HTTP/1.1 100 Continue\r\nContent-Length: +3\r\n\r\n" + OK + b"\r\n",
    "bad version": b"HTTP/3.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "bad status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL": OK + b"X-B: \x00\r\nContent-Length: 0\r\n\r\n",
    "not asked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nabc",
}


@pytest.mark.parametrize("data", REQUEST_CORPUS.values(), ids=REQUEST_CORPUS)
def test_requests_at_every_split_point(data: bytes) -> None:
    whole = told(answered([data]))
    assert whole
    for pieces in splits(data):
        assert told(answered(pieces)) == whole


LONG = b"A" * 20_000


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (501, LONG + b" / HTTP/1.1\r\nHost: gw\r\n\r\n"),
        (501, b"\r\n" + LONG),
        (400, b"A\x00" + LONG + b" / HTTP/1.1\r\n\r\n"),
        (400, b"GET" + LONG + b" / HTTP/1.1\r\nHost: gw\r\n\r\n"),  # as GETA, which is none of llhttp's either
        (414, b"GET /" + LONG + b" HTTP/1.1\r\nHost: gw\r\n\r\n"),
    ],
)
def test_a_line_that_is_too_long_is_refused_for_what_is_long_in_it(status: int, data: bytes) -> None:
    """RFC 9112 3: 501 for the method, 414 for the target."""
    whole = told(answered([data]))
    assert whole[0][:2] == ("refusal", status)
    for sizes in ([1], [7, 9000], [100, 1]):
        assert told(answered(cut(data, sizes))) == whole


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("data", RESPONSE_CORPUS.values(), ids=RESPONSE_CORPUS)
def test_responses_at_every_split_point(data: bytes, method: bytes) -> None:
    whole = told(asked([data], method))
    assert whole
    for pieces in splits(data):
        assert told(asked(pieces, method)) == whole


@settings(deadline=None, max_examples=400)
@given(REQUEST_STREAMS, CUTS)
def test_requests_of_the_grammar_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = told(answered([data]))
    assert told(answered(cut(data, cuts))) == whole
    assert told(answered(cut(data, [1]))) == whole


@settings(deadline=None, max_examples=400)
@given(RESPONSE_STREAMS, CUTS, st.sampled_from([b"GET", b"HEAD"]))
def test_responses_of_the_grammar_however_they_are_cut(data: bytes, cuts: list[int], method: bytes) -> None:
    whole = told(asked([data], method))
    assert told(asked(cut(data, cuts), method)) == whole
    assert told(asked(cut(data, [1]), method)) == whole


# ---- h11 as oracle

Read = tuple[bytes, bytes, Lines, bytes]


def read_here(events: list[Event]) -> tuple[list[Read], bool]:
    """(messages that are whole, as (method or status, target or reason, fields, body); whether all was accepted)."""
    messages: list[Read] = []
    head: Request | Response | None = None
    body = b""
    for event in events:
        if isinstance(event, Request | Response):
            head, body = event, b""
        elif isinstance(event, bytes):
            body += event
        elif isinstance(event, MessageEnd):
            if isinstance(head, Request):
                messages.append((head.method, head.received, head.headers.lines, body))
            elif head is not None:
                messages.append((b"%d" % head.status, head.reason, head.headers.lines, body))
    return messages, not (events and isinstance(events[-1], Refusal))


def read_by_h11(data: bytes) -> tuple[list[Read], bool]:
    """The same, as h11 sees a client's connection whose requests are answered as they end."""
    connection, messages, head, body = h11.Connection(h11.SERVER), list[Read](), None, b""
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                messages.append((bytes(head.method), bytes(head.target), [*head.headers], body))
                # No 2xx: it would switch protocols after a CONNECT.
                connection.send(h11.Response(status_code=404, headers=[(b"content-length", b"0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return messages, True
                connection.start_next_cycle()
            else:
                return messages, True
    except h11.RemoteProtocolError:
        return messages, False


def plain(lines: Lines) -> Lines:
    return [line for line in lines if line[0] in (b"x-a", b"x-b")]


@settings(deadline=None, max_examples=1000)
@example(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\n\r\n" + HEAD + b"\r\n")
@given(REQUEST_STREAMS)
def test_what_both_accept_h11_reads_alike(data: bytes) -> None:
    """The oracle speaks only where it accepts: it is the laxer in some (a bare LF), and the stricter in others."""
    here, fine = read_here(answered([data]))
    there, fine_there = read_by_h11(data)
    for ours, its in zip(here, there, strict=False):
        assert (ours[0], ours[3]) == (its[0], its[3])
        assert its[1].endswith(ours[1]) or ours[1] in (b"/", b"*")
        assert _without_connection(plain(ours[2]), plain(its[2]))
    if fine and fine_there:
        assert len(here) == len(there)


def _without_connection(ours: Lines, its: Lines) -> bool:
    """Fields that Connection names end here; the grammar names X-A."""
    return ours == its or ours == [line for line in its if line[0] != b"x-a"]


# ---- one machine writes, the other reads

STATUSES = st.sampled_from([200, 201, 204, 304, 404, 500, 599])
EXCHANGE = st.tuples(
    METHODS, TARGETS, FIELDS, PIECES, st.booleans(), TRAILERS, STATUSES, FIELDS, PIECES, st.booleans(), TRAILERS,
    st.lists(st.sampled_from([100, 102, 103]), max_size=2),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(EXCHANGE, min_size=1, max_size=4), CUTS)
def test_pipelined_requests_of_several_clients_and_their_answers(exchanges: list[Any], cuts: list[int]) -> None:
    """Each exchange has a client machine of its own; the server machine gets all of their octets in one stream."""
    clients = [Http1Client(DEFAULT_LIMITS) for _ in exchanges]
    stream = b"".join(_ask(client, *exchange[:6]) for client, exchange in zip(clients, exchanges, strict=True))
    server, seen, answers = Http1Server(DEFAULT_LIMITS), list[list[Event]]([[]]), list[bytes]()
    for piece in cut(stream, cuts):
        events = server.feed(piece)
        while events:
            seen[-1] += events
            ended, events = isinstance(events[-1], MessageEnd), []
            if ended:
                answers.append(_answer(server, *exchanges[len(answers)][6:]))
                seen.append([])
                events = server.next_request()
    assert seen.pop() == [] and len(answers) == len(exchanges)
    for exchange, events in zip(exchanges, seen, strict=True):
        method, target, fields, pieces, chunked, trailers = exchange[:6]
        request, end = events[0], events[-1]
        assert isinstance(request, Request) and isinstance(end, MessageEnd)
        assert (request.method, request.target, request.headers.lines) == (method, target, fields)
        assert _body(events) == b"".join(pieces)
        assert _lines(end) == (trailers or [] if chunked else [])
    for client, exchange, octets in zip(clients, exchanges, answers, strict=True):
        _is_answer(client, exchange, [event for piece in cut(octets, cuts) for event in client.feed(piece)])


def _ask(
    client: Http1Client, method: bytes, target: bytes, fields: Lines, pieces: list[bytes], chunked: bool,
    trailers: Lines | None,
) -> bytes:
    length = None if chunked else sum(map(len, pieces))
    request = Request(method, target, Headers([*fields]), length=length, trailers_welcome=True)
    octets = client.send_head(request, target=target, host=b"h")
    octets += b"".join(map(client.send_data, pieces))
    return octets + client.send_end(Headers(trailers) if trailers else None)


def _answer(
    server: Http1Server, status: int, fields: Lines, pieces: list[bytes], chunked: bool, trailers: Lines | None,
    interims: list[int],
) -> bytes:
    octets = b"".join(server.send_interim(Interim(one, Headers(fields))) for one in interims)
    length = None if chunked else sum(map(len, pieces))
    octets += server.send_head(Response(status, Headers([*fields]), length=length))
    octets += b"".join(map(server.send_data, pieces))
    return octets + server.send_end(Headers(trailers) if trailers else None)


def _is_answer(client: Http1Client, exchange: Any, events: list[Event]) -> None:
    method, status, fields, pieces, chunked, trailers, interims = exchange[0], *exchange[6:]
    bodiless = method == b"HEAD" or status in (204, 304)
    assert [event.status for event in events if isinstance(event, Interim)] == interims
    response, end = events[len(interims)], events[-1]
    assert isinstance(response, Response) and isinstance(end, MessageEnd)
    assert (response.status, response.headers.lines) == (status, fields)
    assert _body(events) == (b"" if bodiless else b"".join(pieces))
    assert _lines(end) == (trailers or [] if chunked and not bodiless else [])
    assert client.reusable


def _body(events: list[Event]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def _lines(end: MessageEnd) -> Lines:
    return end.trailers.lines if end.trailers else []


@settings(deadline=None, max_examples=400)
@given(REQUESTS)
def test_what_is_accepted_is_passed_on_as_the_one_message_that_was_read(data: bytes) -> None:
    """Read, written by the other machine, read again: the same message, and nothing behind it."""
    events = answered([data])
    messages, _ = read_here(events)
    requests = [event for event in events if isinstance(event, Request)]
    for request, (method, _, lines, body) in zip(requests, messages, strict=False):
        client = Http1Client(DEFAULT_LIMITS)
        octets = client.send_head(request, target=request.target, host=b"h")
        octets += client.send_data(body) + client.send_end(request.trailers)
        again = answered([octets])
        copies = [event for event in again if isinstance(event, Request)]
        assert len(copies) == 1 and not isinstance(again[-1], Refusal)
        assert (copies[0].method, copies[0].target, copies[0].headers.lines) == (method, request.target, lines)
        assert _body(again) == body
        assert read_by_h11(octets)[1]


# ---- any order of calls

CALLS = st.sampled_from(["feed", "feed", "feed", "next", "head", "data", "end", "interim", "eof", "close"])


@settings(deadline=None, max_examples=400)
@given(st.data(), REQUEST_STREAMS, CUTS)
def test_any_order_of_calls_gives_events_in_order(data: st.DataObject, stream: bytes, cuts: list[int]) -> None:
    """A request, pieces of it, its end; no other before it is answered; nothing after a refusal. What was written is
    one answer, for h11 too."""
    server, waiting = Http1Server(DEFAULT_LIMITS), cut(stream, cuts)
    events: list[Event] = []
    written = b""
    for call in data.draw(st.lists(CALLS, max_size=25)):
        if call in ("feed", "next", "eof"):
            come = {"feed": lambda: server.feed(waiting.pop(0)) if waiting else [], "next": server.next_request,
                    "eof": server.eof}[call]()
            events += come
            if call == "next" and any(isinstance(event, Request) for event in come):
                written = b""
        else:
            written += _written(server, call)
    _in_order(events)
    if written.startswith(b"HTTP/1.1 200"):
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"a")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(written)
        assert isinstance(peer.next_event(), h11.Response)


def _written(server: Http1Server, call: str) -> bytes:
    """What a call writes; it may be refused, and is then no octet."""
    try:
        if call == "head":
            return server.send_head(Response(200, Headers(), length=None))
        if call == "close":
            return server.send_head(Response(200, Headers(), length=3), close=True)
        if call == "data":
            return server.send_data(b"abc")
        if call == "interim":
            return server.send_interim(Interim(100, Headers()))
        return server.send_end()
    except LocalProtocolError:
        return b""


def _in_order(events: list[Event]) -> None:
    inside, over = False, False
    for event in events:
        assert not over, "nothing behind a refusal"
        if isinstance(event, Request):
            assert not inside
            inside = True
        elif isinstance(event, Refusal):
            over = True
        else:
            assert inside and isinstance(event, bytes | MessageEnd)
            inside = not isinstance(event, MessageEnd)
