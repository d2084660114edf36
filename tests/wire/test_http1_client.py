"""The client machine, as transcripts."""

from __future__ import annotations

import pytest
from transcripts import fed, splits, told

from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.limits import DEFAULT_LIMITS, Limits
from apigateway.wire.message import Interim, MessageEnd, Refusal, Request, Response

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"3\r\n\r\n\r\r\n4\r\n\r\n\r\n\r\n0\r\nX-T: 1\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nall of\r\n\r\nit"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-X: y\r\n\r\n"


def request(method: bytes = b"GET", length: int | None = 0, **more: object) -> Request:
    fields = Headers([(b"accept", b"*/*")])
    return Request(method, b"/p", fields, length=length, **more)  # type: ignore[arg-type]


def client(asked: Request | None = None, limits: Limits = DEFAULT_LIMITS) -> Http1Client:
    """A machine that has sent a request."""
    machine = Http1Client(limits)
    asked = asked or request()
    machine.send_head(asked, target=b"/p", host=b"up:80")
    if asked.length == 0:
        machine.send_end()
    return machine


def test_request_and_response() -> None:
    machine = Http1Client(DEFAULT_LIMITS)
    head = machine.send_head(request(), target=b"/x?y", host=b"up:80", extra=[(b"via", b"1.1 gw")])
    assert head == b"GET /x?y HTTP/1.1\r\nhost: up:80\r\naccept: */*\r\nvia: 1.1 gw\r\n\r\n"
    assert machine.send_end() == b""
    assert not machine.reusable
    assert told(machine.feed(OK)) == [
        ("response", 200, b"OK", 2, False, [(b"x-a", b"1")]),
        ("body", b"ok"),
        ("end", None),
    ]
    assert machine.reusable


@pytest.mark.parametrize(
    "data", [OK, CHUNKED, b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n" + OK, b"HTTP/1.1 204 \r\n\r\n"]
)
def test_every_split_gives_the_same_events(data: bytes) -> None:
    expected = told(client().feed(data))
    assert expected[-1][0] == "end"
    for pieces in splits(data):
        machine = client()
        assert told(fed(machine, pieces)) == expected
        assert machine.reusable


def test_many_requests_on_one_connection() -> None:
    machine = Http1Client(DEFAULT_LIMITS)
    for method, data in (
        (b"GET", CHUNKED),
        (b"HEAD", OK[:-2]),
        (b"GET", OK),
        (b"GET", b"HTTP/1.1 304 N\r\n\r\n"),
    ) * 3:
        machine.send_head(request(method), target=b"/", host=b"up")
        machine.send_end()
        assert isinstance(machine.feed(data)[-1], MessageEnd)
        assert machine.reusable


@pytest.mark.parametrize(
    ("asked", "fields", "body"),
    [
        (request(b"GET"), b"", b""),
        (request(b"DELETE"), b"", b""),
        (request(b"POST"), b"content-length: 0\r\n", b""),
        (request(b"PUT"), b"content-length: 0\r\n", b""),
        (request(b"PATCH"), b"content-length: 0\r\n", b""),
        (request(b"GET", 2), b"content-length: 2\r\n", b"ab"),
        (request(b"POST", None), b"transfer-encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"),
        (
            request(b"POST", 2, expect_continue=True, trailers_welcome=True),
            b"content-length: 2\r\nte: trailers\r\nexpect: 100-continue\r\nconnection: te\r\n",
            b"ab",
        ),
        (request(upgrade=b"websocket"), b"upgrade: websocket\r\nconnection: upgrade\r\n", b""),
    ],
)
def test_request_framing(asked: Request, fields: bytes, body: bytes) -> None:
    machine = Http1Client(DEFAULT_LIMITS)
    head = machine.send_head(asked, target=b"/p", host=b"up")
    assert head.partition(b"accept: */*\r\n")[2] == fields + b"\r\n"
    sent = machine.send_data(b"ab") if body else b""
    assert sent + machine.send_end() == body


def test_trailers_of_a_request_are_passed_on() -> None:
    machine = client(request(b"POST", None))
    assert machine.send_end(Headers([(b"x-sum", b"1")])) == b"0\r\nx-sum: 1\r\n\r\n"


def test_no_trailer_says_where_a_request_came_from() -> None:
    machine = client(request(b"POST", None))
    names = (b"x-forwarded-for", b"x-forwarded-any", b"x-forwarded", b"forwarded", b"x-real-ip", b"x_real_ip", b"x-sum")
    assert machine.send_end(Headers((name, b"1") for name in names)) == b"0\r\nx-sum: 1\r\n\r\n"


def test_what_cannot_be_sent() -> None:
    for target, host, method in (
        (b"/a b", b"up", b"GET"), (b"/\r\nX: y", b"up", b"GET"), (b"", b"up", b"GET"),
        (b"/", b"up\r\nX: y", b"GET"), (b"/", b"up", b"GE T"),
    ):  # fmt: skip
        with pytest.raises(LocalProtocolError):
            Http1Client(DEFAULT_LIMITS).send_head(request(method), target=target, host=host)
    with pytest.raises(LocalProtocolError):
        client().send_head(request(), target=b"/", host=b"up")
    with pytest.raises(LocalProtocolError):
        Http1Client(DEFAULT_LIMITS).send_data(b"x")
    with pytest.raises(LocalProtocolError):
        Http1Client(DEFAULT_LIMITS).send_end()
    machine = client(request(b"POST", 2))
    with pytest.raises(LocalProtocolError):
        machine.send_end()
    with pytest.raises(LocalProtocolError):
        machine.send_data(b"abc")


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 1234),
        (b"HEAD", b"HTTP/1.1 404 N\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 N\r\nContent-Length: 1234\r\n\r\n", 1234),
        (b"GET", b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n", None),
    ],
)
def test_responses_without_a_body(method: bytes, data: bytes, length: int | None) -> None:
    machine = client(request(method))
    response, end = machine.feed(data)
    assert isinstance(response, Response) and response.bodiless
    assert (response.length, end) == (length, MessageEnd())
    assert machine.reusable
    machine.send_head(request(), target=b"/", host=b"up")
    machine.send_end()
    assert told(machine.feed(OK))[1:] == [("body", b"ok"), ("end", None)]


def test_a_body_that_the_close_ends() -> None:
    machine = client()
    assert told(machine.feed(UNTIL_CLOSE)) == [
        ("response", 200, b"OK", None, False, []),
        ("body", b"all of\r\n\r\nit"),
    ]
    assert machine.eof() == [MessageEnd()]
    assert not machine.reusable
    assert machine.eof() == []


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", OK[:-1], CHUNKED[:-3], b"HTTP/1.1 100 C\r\n\r\n"])
def test_an_upstream_that_leaves_early(data: bytes) -> None:
    machine = client()
    machine.feed(data)
    (refusal,) = machine.eof()
    assert isinstance(refusal, Refusal) and refusal.status == 502 and "incomplete" in refusal.detail
    assert not machine.reusable


def test_eof_while_idle() -> None:
    machine = client()
    machine.feed(OK)
    assert machine.eof() == []
    assert not machine.reusable


def test_trailers_of_a_response() -> None:
    machine = client()
    head, body = CHUNKED.split(b"\r\n\r\n", 1)
    (response,) = machine.feed(head + b"\r\n\r\n")
    events = machine.feed(body)
    assert events == [b"\r\n\r\r\n\r\n", MessageEnd(Headers([(b"x-t", b"1")]))]
    assert isinstance(response, Response) and response.trailers == Headers([(b"x-t", b"1")])


def test_interim_responses() -> None:
    machine = client(request(b"POST", 2, expect_continue=True))
    assert machine.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") == [
        Interim(100, Headers()),
        Interim(103, Headers([(b"link", b"</a>")])),
    ]
    assert machine.send_data(b"ab") == b"ab"
    machine.send_end()
    assert isinstance(machine.feed(OK)[-1], MessageEnd)


def test_interim_responses_without_end() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    for pieces in ([hint * 101], [hint] * 101):
        machine = client()
        events = fed(machine, pieces)
        assert events[:-1] == [Interim(103, Headers())] * 100
        assert told(events)[-1] == ("refusal", 502, "RFC 9110 15.2")
        assert not machine.reusable


def test_interim_responses_are_counted_for_each_request() -> None:
    machine = client()
    for _ in range(3):
        events = machine.feed(b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + OK)
        assert isinstance(events[-1], MessageEnd)
        machine.send_head(request(), target=b"/", host=b"up")
        machine.send_end()


def test_an_early_answer_leaves_the_connection_busy() -> None:
    machine = client(request(b"POST", 5))
    machine.send_data(b"ab")
    assert isinstance(machine.feed(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")[-1], MessageEnd)
    assert not machine.reusable
    machine.send_data(b"cde")
    machine.send_end()
    assert machine.reusable


def test_hop_by_hop_fields_of_a_response_end_here() -> None:
    machine = client()
    response = machine.feed(
        b"HTTP/1.1 200 OK\r\nConnection: X-Up\r\nX-Up: 1\r\nX-Down: 2\r\nKeep-Alive: max=3, timeout=15\r\n"
        b"Proxy-Authenticate: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n"
        b"X-Forwarded-For: kept\r\nX_Y: kept\r\n\r\n"
    )[0]
    assert isinstance(response, Response)
    assert response.headers.lines == [(b"x-down", b"2"), (b"x-forwarded-for", b"kept"), (b"x_y", b"kept")]
    assert machine.keep_alive_timeout == 15.0
    assert machine.reusable


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 200\r\n", True),
    ],
)
def test_persistence(head: bytes, reusable: bool) -> None:
    machine = client()
    assert isinstance(machine.feed(head + b"Content-Length: 0\r\n\r\n")[-1], MessageEnd)
    assert machine.reusable is reusable
    assert machine.keep_alive_timeout is None


def test_set_cookie_lines_stay_apart() -> None:
    response = client().feed(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Expires=Wed, 09 Jun\r\nSet-Cookie: b\r\nset-cookie: c\r\n\r\n"
    )[0]
    assert isinstance(response, Response)
    assert response.headers.get_all(b"set-cookie") == [b"a=1; Expires=Wed, 09 Jun", b"b", b"c"]


# ---- switching protocols


def test_switching_protocols() -> None:
    for pieces in ([SWITCH + b"\x81\x00\r\n\r\n"], *splits(SWITCH + b"\x81\x00\r\n\r\n")):
        machine = client(request(upgrade=b"websocket"))
        (response,) = fed(machine, pieces)
        assert isinstance(response, Response) and response.upgrade == b"websocket"
        assert response.headers.lines == [(b"sec-x", b"y")]
        assert machine.take_rest() == b"\x81\x00\r\n\r\n"
        assert machine.take_rest() == b""
        assert machine.eof() == []
        assert not machine.reusable


def test_an_upgrade_that_is_not_taken() -> None:
    machine = client(request(upgrade=b"websocket"))
    assert isinstance(machine.feed(OK)[-1], MessageEnd)
    assert machine.reusable
    assert machine.take_rest() == b""


# ---- fault 22


@pytest.mark.parametrize(
    "data",
    [
        SWITCH,
        b"HTTP/1.1 101 S\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ],
)
def test_faulty_responses(data: bytes) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        machine = client()
        refusal = fed(machine, pieces)[-1]
        assert isinstance(refusal, Refusal)
        assert refusal.status == 502
        assert not machine.reusable
        assert machine.feed(OK) == []


def test_octets_behind_a_response_never_reach_the_next_client() -> None:
    for method, data in ((b"GET", OK + b"HTTP/1.1 200 OK\r\n"), (b"HEAD", OK), (b"GET", CHUNKED + b"x")):
        machine = client(request(method))
        events = machine.feed(data)
        assert isinstance(events[-1], MessageEnd)
        assert not machine.reusable
        with pytest.raises(LocalProtocolError):
            machine.send_head(request(), target=b"/", host=b"up")


def test_octets_on_an_idle_connection() -> None:
    machine = client()
    machine.feed(OK)
    (refusal,) = machine.feed(b"HTTP/1.1 408 Timeout\r\n\r\n")
    assert isinstance(refusal, Refusal) and refusal.status == 502
    assert not machine.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 700,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 700 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 6 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"Connection: a\r\n" * 6 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 51,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + b"x" * 64,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 10_000,
    ],
)
def test_limits(data: bytes) -> None:
    refusal = client(limits=Limits(max_head=600, max_fields=5, max_body=50)).feed(data)[-1]
    assert isinstance(refusal, Refusal)
    assert refusal.status == 502
