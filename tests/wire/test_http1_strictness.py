"""Every rule of RFC 9112 that a request can break: refused with the right status, whole or octet by octet."""

from __future__ import annotations

import pytest
from transcripts import fed, refusal_of, told

from apigateway.wire.headers import Headers
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import DEFAULT_LIMITS, Limits
from apigateway.wire.message import Event, Refusal, Request, Response

HOST = b"GET / HTTP/1.1\r\nHost: gw\r\n"
POST = b"POST / HTTP/1.1\r\nHost: gw\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = [
    # Fault 1: both framings.
    (400, POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG"),
    # Fault 2: Content-Length that is not one number.
    (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    *((400, POST + b"Content-Length: " + odd + b"\r\n\r\nhello") for odd in (
        b"5, 6", b"5, 5", b"+5", b"-1", b"0x5", b"5_0", b"5 5", b"", b"5.0", b"9223372036854775808",
        b"18446744073709551615", b"99999999999999999999999", b"\xb2",
    )),
    # Fault 3: Transfer-Encoding that is not one chunked.
    *((400, POST + b"Transfer-Encoding: " + odd + b"\r\n\r\n0\r\n\r\n") for odd in (
        b"identity", b"xchunked", b"chunked, chunked", b"chunked, identity", b"chunked, gzip", b"gzip",
        b"chunked;a=b", b"", b"\x0bchunked", b"chunked\x00", b",chunked", b"identity, chunked",
    )),
    (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # Fault 4: Transfer-Encoding in HTTP/1.0.
    (400, b"POST / HTTP/1.0\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # Fault 5: chunks.
    *((400, CHUNKED + odd) for odd in (
        b"0x5\r\nhello", b"5_0\r\n", b"+5\r\n", b"-5\r\n", b"\r\n", b" 5\r\n", b"5 \r\n",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"5\nhello", b"5;\r\nhello", b"5;a\nhello", b"5;a\x00\r\nhello", b"5;a\x01b\r\n",
        b"5;a\rb\r\n", b"5;[=x\r\n",
        b"5\r\nhello0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello!!\r\n", b"0\r\n\n", b"0\r\nA: b\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: \x00\r\n\r\n",
    )),
    # Fault 6: white space where it hides things.
    (400, HOST + b"A : b\r\n\r\n"),
    (400, HOST + b"A\t: b\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n Host: gw\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n \r\nHost: gw\r\n\r\n"),
    (400, HOST + b"A: b\r\n c\r\n\r\n"),
    (400, HOST + b"A: b\r\n\tc\r\n\r\n"),
    # Fault 7: what would split a field.
    *((400, HOST + b"A: x" + bytes([octet]) + b"y\r\n\r\n") for octet in (*range(9), *range(10, 32), 127)),
    (400, b"GET / HTTP/1.1\nHost: gw\r\n\r\n"),
    (400, HOST + b"A: b\nC: d\r\n\r\n"),
    (400, HOST + b"\n"),
    (400, b"GET / HTTP/1.1\rHost: gw\r\n\r\n"),
    # Fault 8: Host.
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, HOST + b"Host: gw\r\n\r\n"),
    (400, HOST + b"hOST: other\r\n\r\n"),
    *((400, b"GET / HTTP/1.1\r\nHost: " + odd + b"\r\n\r\n") for odd in (
        b"", b"a, b", b"a b", b"u@a", b"a/b", b"a?b", b"a#b", b"a:b", b"a:70000", b"[::1",
        b"[:::1]", b"a%41", b"\xe4",
        b"a" * 301,
    )),
    (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    # The request line.
    *((400, line + b"\r\nHost: gw\r\n\r\n") for line in (
        b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1",
        b"GET /a b HTTP/1.1", b"GET / http/1.1", b"GET / HTTP/1", b"GET / HTTP/01.01", b"GET / HTTP/ 1.1",
        b"GET / HTTP/1.1x", b"SOURCE / ICE/1.0",
        b"GET /#f HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1", b"GET /\x7f HTTP/1.1",
        b"GET /\x01 HTTP/1.1", b"GET a HTTP/1.1",
        b"GET * HTTP/1.1", b"GET ftp://a/ HTTP/1.1", b"GET https://a/ HTTP/1.1", b"GET http://u@a/ HTTP/1.1",
        b"GET http:///x HTTP/1.1", b"GET http://a:99999/ HTTP/1.1", b"G\x00T / HTTP/1.1", b"\x16\x03\x01",
    )),
    *((505, line + b"\r\nHost: gw\r\n\r\n") for line in (
        b"GET / HTTP/2.0", b"GET / HTTP/9.9", b"GET / HTTP/1.2", b"GET / HTTP/0.9",
    )),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (501, b"FOOBAR / HTTP/1.1\r\nHost: gw\r\n\r\n"),
    (501, b"get / HTTP/1.1\r\nHost: gw\r\n\r\n"),
    (501, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    # Names.
    *((400, HOST + name + b": x\r\n\r\n") for name in (b"", b"a[b", b"a b", b"a\x00b", b"a\xe4", b"a(b")),
    (400, HOST + b"NoColon\r\n\r\n"),
    # Fault 14: expectations.
    (417, POST + b"Content-Length: 2\r\nExpect: 200-ok\r\n\r\n"),
    (417, POST + b"Content-Length: 2\r\nExpect: 100-continue, x\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "data"), REFUSED, ids=repr)
def test_refused(status: int, data: bytes) -> None:
    refusal = refusal_of(data)
    assert refusal.status == status
    assert refusal.detail.endswith(".") and refusal.section


@pytest.mark.parametrize(("status", "data"), REFUSED, ids=repr)
def test_nothing_follows_a_refusal(status: int, data: bytes) -> None:
    machine = Http1Server(DEFAULT_LIMITS)
    assert isinstance(machine.feed(data)[-1], Refusal)
    assert machine.feed(HOST + b"\r\n") == []
    assert machine.next_request() == []
    assert machine.eof() == []
    assert not machine.reusable
    assert not machine.waiting


# ---- limits (faults 12 and 13)

SMALL = Limits(
    max_target=100,
    max_head=600,
    max_field=200,
    max_fields=5,
    max_trailers=100,
    max_body=50,
    max_chunk_extensions=64,
)
FIELDS = b"".join(b"F%d: x\r\n" % number for number in range(5))


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (414, b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: gw\r\n\r\n"),
        (414, b"GET /" + b"a" * 1000),
        (414, b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: gw\r\n\r\n"),
        (431, HOST + FIELDS + b"\r\n"),
        (431, HOST + b"Connection: a\r\n" * 5 + b"\r\n"),
        (431, HOST + b"TE: a\r\nX-Real-IP: b\r\n" * 2 + b"A: b\r\n\r\n"),
        (431, HOST + b"A: " + b"x" * 198 + b"\r\n\r\n"),
        (431, HOST + b"A: " + b"x" * 700),
        (431, HOST + b"A: b\r\n" * 200),
        (413, POST + b"Content-Length: 51\r\n\r\n"),
        (413, CHUNKED + b"20\r\n" + b"x" * 32 + b"\r\n20\r\n" + b"x" * 32),
        (413, CHUNKED + b"ffffffffffffffff\r\n" + b"x" * 51),
        (400, CHUNKED + b"1;" + b"a" * 300),
        (400, CHUNKED + b"1;" + b"a" * 120 + b"\r\nx\r\n0\r\n\r\n"),
        (400, CHUNKED + b"0\r\nA: " + b"a" * 300),
        (431, CHUNKED + b"0\r\nA: " + b"a" * 110 + b"\r\n\r\n"),
        (431, CHUNKED + b"0\r\n" + b"A: b\r\n" * 6 + b"\r\n"),
        (431, CHUNKED + b"0\r\n" + b"TE: b\r\n" * 6 + b"\r\n"),
    ],
)
def test_limits(status: int, data: bytes) -> None:
    whole = Http1Server(SMALL).feed(data)
    single = fed(Http1Server(SMALL), [data[at : at + 1] for at in range(len(data))])
    for events in (whole, single):
        assert isinstance(events[-1], Refusal), events
        assert events[-1].status == status


def test_a_head_that_comes_whole_has_the_same_limit_as_one_in_pieces() -> None:
    limits = Limits(max_head=4096)
    for octets, kept in ((4096, True), (4097, False), (10_240, False)):
        data = HOST + b"A: " + b"x" * (octets - len(HOST) - 7) + b"\r\n\r\n"
        assert len(data) == octets
        for pieces in ([data], [data[:9], data[9:]]):
            event = fed(Http1Server(limits), pieces)[0]
            assert isinstance(event, Request) if kept else told([event]) == [("refusal", 431, "RFC 6585 5")]


def test_just_within_the_limits() -> None:
    head = (
        b"POST /"
        + b"a" * 99
        + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 50\r\nA: "
        + b"x" * 190
        + b"\r\n\r\n"
    )
    assert told(Http1Server(SMALL).feed(head + b"y" * 50))[1:] == [("body", b"y" * 50), ("end", None)]
    body = b"2;" + b"a" * 30 + b"\r\nab\r\n" + b"1\r\nc\r\n" * 40 + b"0\r\nA: " + b"b" * 60 + b"\r\n\r\n"
    events = told(Http1Server(SMALL).feed(CHUNKED + body))
    assert events[1:] == [("body", b"ab" + b"c" * 40), ("end", [(b"a", b"b" * 60)])]


def test_a_body_over_the_limit_is_cut_off_in_bounded_memory() -> None:
    machine, taken = Http1Server(SMALL), 0
    events: list[Event] = machine.feed(CHUNKED)
    while not isinstance(events[-1], Refusal):
        taken += sum(len(event) for event in events if isinstance(event, bytes))
        events = machine.feed(b"a\r\n" + b"x" * 10 + b"\r\n")
    assert events[-1].status == 413
    assert taken <= 50


def test_many_chunks_cost_no_extension_budget() -> None:
    machine = Http1Server(DEFAULT_LIMITS)
    events = machine.feed(CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    assert told(events)[1:] == [("body", b"x" * 20_000), ("end", None)]
    assert len(events) == 3  # the chunks of one feed are one piece


@pytest.mark.parametrize("text", [b"\r\n\r\n", b"\r\n0\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n0"])
def test_a_body_full_of_what_looks_like_an_end_is_read_whole(text: bytes) -> None:
    body = text * 5000
    events = Http1Server(DEFAULT_LIMITS).feed(CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert told(events)[1:] == [("body", body), ("end", None)]


def test_fields_that_may_not_be_trailers_are_dropped() -> None:
    data = (
        CHUNKED
        + b"0\r\nHost: evil\r\nAuthorization: x\r\nContent-Type: y\r\nX-Forwarded-For: z\r\nOk: 1\r\n\r\n"
    )
    assert told(Http1Server(DEFAULT_LIMITS).feed(data))[-1] == ("end", [(b"ok", b"1")])


def test_empty_lines_before_a_request_are_no_head() -> None:
    machine = Http1Server(DEFAULT_LIMITS)
    assert machine.feed(b"\r\n\r\n\r\n") == []
    assert not machine.in_head
    assert machine.eof() == []
    assert isinstance(machine.feed(HOST + b"\r\n")[0], Request)


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\r\n\r\n", b"\n\n\r\n\r\n"], ids=repr)
def test_empty_lines_without_end_are_refused(line: bytes) -> None:
    machine = Http1Server(DEFAULT_LIMITS)
    events: list[Event] = []
    for _ in range(17):
        events += machine.feed(line)
    assert [type(event) for event in events] == [Refusal]
    assert told(events)[0][1] == 400


def test_eight_empty_lines_may_come_before_each_request() -> None:
    for blank in ([b"\r\n" * 8], [b"\r\n"] * 8):
        machine = Http1Server(DEFAULT_LIMITS)
        for _ in range(3):
            assert fed(machine, blank) == []
            assert isinstance(machine.feed(HOST + b"\r\n")[0], Request)
            machine.send_head(Response(200, Headers(), length=0))
            machine.send_end()
            assert machine.next_request() == []
    assert refusal_of(b"\r\n" * 9 + HOST + b"\r\n").section == "RFC 9112 2.2"


def test_http_1_0_needs_no_host() -> None:
    (request, _) = Http1Server(DEFAULT_LIMITS).feed(b"GET / HTTP/1.0\r\n\r\n")
    assert isinstance(request, Request) and request.authority == b"" and request.version == "1.0"
