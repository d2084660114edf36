"""The server machine, as transcripts: what comes in, what it makes of it, what goes out."""

from __future__ import annotations

import pytest
from transcripts import fed, request_of, splits, told

from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.headers import Headers
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import DEFAULT_LIMITS, Limits
from apigateway.wire.message import Interim, MessageEnd, Refusal, Request, Response

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: gw\r\nX-Keep: 2\r\n\r\n"
CHUNKED_HEAD = b"POST /up HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"5;ext=1\r\nhel\r\n\r\n6\r\n\r\n\r\nab\r\n05\r\n\r\n0\r\n\r\n0\r\nX-Sum: 1 \r\n\r\n"
SIZED = b"POST /up HTTP/1.1\r\nHost: gw\r\nContent-Length: 8\r\n\r\nab\r\n\r\ncd"
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def server(limits: Limits = DEFAULT_LIMITS) -> Http1Server:
    return Http1Server(limits)


def answer(machine: Http1Server, status: int = 200, body: bytes = b"ok", **more: bool) -> bytes:
    head = machine.send_head(Response(status, Headers(), length=len(body)), **more)
    return head + machine.send_data(body) + machine.send_end()


def test_get() -> None:
    machine = server()
    assert told(machine.feed(GET)) == [
        ("request", b"GET", b"/a?b=1", b"gw", 0, [(b"x-keep", b"2")]),
        ("end", None),
    ]
    assert answer(machine) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert machine.reusable
    assert machine.next_request() == []
    assert not machine.in_head


def test_chunked_body_with_trailers() -> None:
    machine = server()
    request, body, end = machine.feed(CHUNKED)
    assert isinstance(request, Request) and request.length is None
    assert body == b"hel\r\n\r\n\r\nab\r\n0\r\n"
    assert end == MessageEnd(Headers([(b"x-sum", b"1")]))
    assert request.trailers == Headers([(b"x-sum", b"1")])


@pytest.mark.parametrize("data", [GET, CHUNKED, SIZED, WEBSOCKET, b"\r\n" + GET], ids=repr)
def test_every_split_gives_the_same_events(data: bytes) -> None:
    expected = told(server().feed(data))
    assert expected[-1][0] == "end"
    for pieces in splits(data):
        assert told(fed(server(), pieces)) == expected


def test_every_split_of_a_pipeline_gives_the_same_requests() -> None:
    data = CHUNKED + SIZED + GET
    expected = [told(server().feed(one)) for one in (CHUNKED, SIZED, GET)]
    for pieces in splits(data):
        machine, seen = server(), []
        events = []
        for piece in pieces:
            events += machine.feed(piece)
            while events and isinstance(events[-1], MessageEnd):
                seen.append(told(events))
                answer(machine)
                events = machine.next_request()
        assert seen == expected


def test_pipelined_octets_wait_for_the_answer() -> None:
    machine = server()
    assert len(machine.feed(GET + GET)) == 2
    assert machine.waiting
    assert machine.feed(GET) == []
    answer(machine)
    assert [type(event) for event in machine.next_request()] == [Request, MessageEnd]
    assert machine.waiting
    answer(machine)
    assert len(machine.next_request()) == 2
    assert not machine.waiting


def test_five_hundred_requests_in_one_feed() -> None:
    machine = server()
    count, events = 0, machine.feed(GET * 500)
    while events:
        assert [type(event) for event in events] == [Request, MessageEnd]
        count += 1
        answer(machine)
        events = machine.next_request()
    assert count == 500
    assert not machine.waiting


def test_a_bad_request_behind_a_good_one_is_refused_in_its_turn() -> None:
    machine = server()
    assert told(machine.feed(GET + b"GET / HTTP/1.1\r\n\r\n"))[-1] == ("end", None)
    answer(machine)
    (refusal,) = machine.next_request()
    assert isinstance(refusal, Refusal) and refusal.status == 400
    assert b"connection: close" in answer(machine, 400)
    assert not machine.reusable


def test_no_request_is_read_after_a_close() -> None:
    machine = server()
    close = b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    assert len(machine.feed(close + GET)) == 2
    assert not machine.waiting
    assert b"\r\nconnection: close\r\n" in answer(machine)
    assert not machine.reusable
    assert machine.feed(GET) == []
    assert machine.next_request() == []


def test_close_by_our_own_choice() -> None:
    machine = server()
    machine.feed(GET + GET)
    assert b"\r\nconnection: close\r\n" in answer(machine, close=True)
    assert not machine.reusable
    assert machine.next_request() == []


def test_an_early_answer_and_the_rest_of_the_upload() -> None:
    machine = server()
    machine.feed(SIZED[:-3])
    answer(machine, 401)
    assert not machine.reusable
    assert told(machine.feed(SIZED[-3:] + GET)) == [("body", SIZED[-3:]), ("end", None)]
    assert machine.reusable
    assert told(machine.next_request()) == told(server().feed(GET))


def test_eof() -> None:
    machine = server()
    assert machine.eof() == []
    machine.feed(b"GET / HT")
    assert machine.in_head
    assert told(machine.eof()) == [("refusal", 400, "RFC 9112 8")]
    machine = server()
    machine.feed(SIZED[:-1])
    assert told(machine.eof()) == [("refusal", 400, "RFC 9112 8")]
    machine = server()
    machine.feed(GET)
    assert machine.eof() == []


@pytest.mark.parametrize(
    ("head", "persists"),
    [
        (b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: x, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
    ],
)
def test_persistence(head: bytes, persists: bool) -> None:
    machine = server()
    machine.feed(head)
    sent = answer(machine)
    assert machine.reusable is persists
    assert (b"connection: close" in sent) is not persists
    assert (b"connection: keep-alive" in sent) is (persists and b"HTTP/1.0" in head)


# ---- framing of answers (RFC 9112 6.3)


@pytest.mark.parametrize(
    ("request_line", "response", "fields", "body"),
    [
        (b"GET / HTTP/1.1", Response(200, Headers(), length=2), b"content-length: 2\r\n", b"ok"),
        (
            b"GET / HTTP/1.1",
            Response(200, Headers()),
            b"transfer-encoding: chunked\r\n",
            b"2\r\nok\r\n0\r\n\r\n",
        ),
        (b"GET / HTTP/1.0", Response(200, Headers()), b"connection: close\r\n", b"ok"),
        (
            b"HEAD / HTTP/1.1",
            Response(200, Headers(), length=1234, bodiless=True),
            b"content-length: 1234\r\n",
            b"",
        ),
        (b"HEAD / HTTP/1.1", Response(200, Headers(), length=1234), b"content-length: 1234\r\n", b""),
        (b"HEAD / HTTP/1.1", Response(404, Headers(), bodiless=True), b"", b""),
        (
            b"GET / HTTP/1.1",
            Response(304, Headers(), length=1234, bodiless=True),
            b"content-length: 1234\r\n",
            b"",
        ),
        (b"GET / HTTP/1.1", Response(304, Headers()), b"", b""),
        (b"GET / HTTP/1.1", Response(204, Headers(), length=7, bodiless=True), b"", b""),
    ],
)
def test_answer_framing(request_line: bytes, response: Response, fields: bytes, body: bytes) -> None:
    machine = server()
    machine.feed(request_line + b"\r\nHost: gw\r\n\r\n")
    head = machine.send_head(response)
    assert head.partition(b"\r\n")[2] == fields + b"\r\n"
    assert machine.send_data(b"ok") + machine.send_end() == body


def test_the_writer_frames_whatever_the_fields_say() -> None:
    machine = server()
    machine.feed(GET)
    fields = Headers(
        [(b"content-length", b"9"), (b"connection", b"x"), (b"transfer-encoding", b"y"), (b"a", b"b")]
    )
    head = machine.send_head(Response(200, fields, length=0))
    assert head == b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 0\r\n\r\n"


def test_repeated_fields_stay_apart_and_in_order() -> None:
    machine = server()
    machine.feed(GET)
    lines = [(b"set-cookie", b"a=1"), (b"x", b"y"), (b"set-cookie", b"b=2")]
    assert b"set-cookie: a=1\r\nx: y\r\nset-cookie: b=2\r\n" in machine.send_head(
        Response(200, Headers(lines), length=0)
    )


def test_a_body_that_is_not_as_announced_aborts() -> None:
    machine = server()
    machine.feed(GET)
    machine.send_head(Response(200, Headers(), length=2))
    machine.send_data(b"o")
    with pytest.raises(LocalProtocolError):
        machine.send_end()
    with pytest.raises(LocalProtocolError):
        machine.send_data(b"kk")


def test_what_cannot_be_sent() -> None:
    machine = server()
    machine.feed(GET)
    with pytest.raises(LocalProtocolError):
        machine.send_data(b"x")
    with pytest.raises(LocalProtocolError):
        machine.send_end()
    with pytest.raises(LocalProtocolError):
        machine.send_interim(Interim(200, Headers()))
    with pytest.raises(LocalProtocolError):
        server().send_head(Response(200, Headers(), reason=b"a\r\nb"))
    answer(machine)
    with pytest.raises(LocalProtocolError):
        answer(machine)
    with pytest.raises(LocalProtocolError):
        machine.send_data(b"x")
    with pytest.raises(LocalProtocolError):
        machine.send_end()


def test_trailers_go_to_those_who_welcome_them() -> None:
    sent = []
    for te in (b"TE: trailers\r\n", b""):
        machine = server()
        machine.feed(b"GET / HTTP/1.1\r\nHost: gw\r\n" + te + b"\r\n")
        machine.send_head(Response(200, Headers()))
        sent.append(machine.send_end(Headers([(b"grpc-status", b"0"), (b"content-length", b"3")])))
    assert sent == [b"0\r\ngrpc-status: 0\r\n\r\n", b"0\r\n\r\n"]


def test_an_empty_piece_does_not_end_a_chunked_body() -> None:
    machine = server()
    machine.feed(GET)
    machine.send_head(Response(200, Headers()))
    assert machine.send_data(b"") == b""
    assert machine.send_data(b"x" * 20) == b"14\r\n" + b"x" * 20 + b"\r\n"


def test_interim_answers() -> None:
    machine = server()
    expecting = b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    (request,) = machine.feed(expecting)
    assert isinstance(request, Request) and request.expect_continue
    assert machine.send_interim(Interim(100, Headers())) == b"HTTP/1.1 100 Continue\r\n\r\n"
    hints = Interim(103, Headers([(b"link", b"</a>")]))
    assert machine.send_interim(hints) == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert told(machine.feed(b"ok")) == [("body", b"ok"), ("end", None)]
    answer(machine)
    with pytest.raises(LocalProtocolError):
        machine.send_interim(Interim(100, Headers()))


def test_http_1_0_gets_no_interim_answer_and_expects_none() -> None:
    machine = server()
    (request,) = machine.feed(b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert isinstance(request, Request) and not request.expect_continue
    assert machine.send_interim(Interim(100, Headers())) == b""


def test_a_refusal_can_be_answered_before_any_request() -> None:
    machine = server()
    machine.feed(b"\x16\x03\x01")
    sent = answer(machine, 400, b"no")
    assert sent == b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    assert machine.feed(GET) == []


# ---- Upgrade (RFC 9110 7.8)


def test_a_websocket_is_tunnelled_after_the_101_only() -> None:
    machine = server()
    request, _ = machine.feed(WEBSOCKET + b"\x81\x00GET / HTTP/1.1\r\n\r\n")
    assert isinstance(request, Request) and request.upgrade == b"websocket"
    assert machine.waiting
    assert machine.take_rest() == b""
    head = machine.send_head(Response(101, Headers([(b"sec-websocket-accept", b"x")]), upgrade=b"websocket"))
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\n"
        b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    assert machine.take_rest() == b"\x81\x00GET / HTTP/1.1\r\n\r\n"
    assert machine.feed(b"more") == []
    assert machine.take_rest() == b"more"
    assert machine.eof() == []
    assert not machine.reusable


def test_octets_behind_a_failed_upgrade_are_no_request() -> None:
    machine = server()
    machine.feed(WEBSOCKET + GET)
    assert b"connection: close" in answer(machine, 403)
    assert not machine.reusable
    assert machine.next_request() == []
    assert machine.take_rest() == b""


def test_after_a_failed_upgrade_with_nothing_behind_http_goes_on() -> None:
    machine = server()
    machine.feed(WEBSOCKET)
    answer(machine, 403)
    assert machine.reusable
    assert machine.next_request() == []
    assert told(machine.feed(GET)) == told(server().feed(GET))


def test_101_needs_a_request_that_asked() -> None:
    machine = server()
    machine.feed(GET)
    with pytest.raises(LocalProtocolError):
        machine.send_head(Response(101, Headers(), upgrade=b"websocket"))


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: A\r\n",
        b"POST / HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        b"GET / HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\n",
        b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n",
    ],
)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3\r\n\r\nabc", [("body", b"abc")]),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [("body", b"abc")]),
        (b"\r\n", []),
    ],
)
def test_another_upgrade_is_as_if_absent(head: bytes, framing: bytes, body: list[tuple[str, bytes]]) -> None:
    data = head + framing
    for pieces in ([data + GET], *splits(data)):
        machine = server()
        events = fed(machine, pieces)
        request = events[0]
        assert isinstance(request, Request) and request.upgrade == b""
        assert request.headers.lines == []
        assert told(events)[1:] == [*body, ("end", None)]
        answer(machine)
        assert told(machine.next_request() or machine.feed(GET)) == told(server().feed(GET))


# ---- what becomes of fields


def test_hop_by_hop_fields_end_here() -> None:
    request = request_of(
        b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: close, X-Hop, Keep-Alive\r\nX-Hop: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n"
        b"Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nX-Keep: 2\r\n\r\n"
    )
    assert request.headers.lines == [(b"x-keep", b"2")]
    assert request.trailers_welcome
    assert not request.persistent


def test_connection_cannot_name_away_what_proxies_wrote() -> None:
    request = request_of(
        b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: x-forwarded-for, host, content-length\r\n"
        b"X-Forwarded-For: 192.0.2.1\r\n\r\n"
    )
    assert request.forwarded == [(b"x-forwarded-for", b"192.0.2.1")]
    assert request.authority == b"gw"


def test_forwarding_fields_are_set_apart_and_their_doubles_dropped() -> None:
    request = request_of(
        b"GET / HTTP/1.1\r\nHost: gw\r\nX-Forwarded-For: a\r\nX_Forwarded_For: b\r\nX-Forwarded_Host: c\r\n"
        b"Forwarded: for=d\r\nX-Real-IP: e\r\nX_Real_IP: f\r\nX-Forwarded-Anything: g\r\n"
        b"x-forwarded-for: h\r\n"
        b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Other: i\r\n\r\n"
    )
    assert request.forwarded == [
        (b"x-forwarded-for", b"a"),
        (b"forwarded", b"for=d"),
        (b"x-real-ip", b"e"),
        (b"x-forwarded-anything", b"g"),
        (b"x-forwarded-for", b"h"),
    ]
    assert request.headers.lines == [(b"x_other", b"i")]
    assert request_of(GET).forwarded is None


def test_values_are_trimmed_and_kept_byte_for_byte() -> None:
    request = request_of(b"GET / HTTP/1.1\r\nHost: gw \r\nA: \t x  y\xff\t \r\nB:\r\nX-Real-IP: 1 \r\n\r\n")
    assert request.headers.lines == [(b"a", b"x  y\xff"), (b"b", b"")]
    assert request.authority == b"gw"
    assert request.forwarded == [(b"x-real-ip", b"1")]


def test_absolute_form_wins_over_host() -> None:
    request = request_of(b"GET HTTP://real:81?x=1 HTTP/1.1\r\nHost: other\r\n\r\n")
    assert (request.authority, request.target) == (b"real:81", b"/?x=1")
    assert (request.path, request.query) == (b"/", b"x=1")
    request = request_of(b"OPTIONS https://real HTTP/1.1\r\nHost: other\r\n\r\n", "https")
    assert (request.authority, request.target) == (b"real", b"*")
    assert request_of(b"OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n").target == b"*"


@pytest.mark.parametrize("host", [b"a", b"a-b.c:8080", b"[::1]:80", b"192.0.2.1", b"a_b", b"a:"])
def test_valid_hosts(host: bytes) -> None:
    assert request_of(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").authority == host


def test_the_target_is_kept_byte_for_byte() -> None:
    target = b"/d/auth%7C9;x=y?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y"
    assert request_of(b"GET " + target + b" HTTP/1.1\r\nHost: gw\r\n\r\n").target == target


def test_an_idle_machine_keeps_no_buffer() -> None:
    machine = server()
    machine.feed(SIZED)
    answer(machine)
    machine.next_request()
    assert not machine.waiting
    assert machine._data == b""
    assert machine._parser is None
