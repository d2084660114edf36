"""Messages of HTTP/1 for property tests: a grammar of right and nearly right ones, as strategies of hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

Lines = list[tuple[bytes, bytes]]

NAMES = st.from_regex(rb"x-[a-z0-9!#$%&'*+.^`|~-]{1,10}", fullmatch=True).filter(
    lambda name: not name.startswith(b"x-forwarded") and name != b"x-real-ip"
)
VALUES = st.from_regex(rb"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
TARGETS = st.from_regex(rb"/[!\"$-~]{0,30}", fullmatch=True)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"QUERY"])
PIECES = st.lists(
    st.binary(min_size=1, max_size=40)
    | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"\r\n0", b"GET / HTTP/1.1\r\n\r\n"]),
    max_size=5,
)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=12)
TRAILERS = st.none() | FIELDS

# Lines that a head may hold once or twice, right and wrong ones: those that frame, and what is nearly such a line.
_LINES = st.sampled_from([
    b"Host: a", b"Host: a", b"host:a", b"Host: b", b"Host : a", b"HOST:\ta \t", b"Host:", b"Host: a b",
    b"Content-Length: 3", b"Content-Length: 3", b"content-length:3 ", b"Content-Length: +3", b"Content-Length: 03",
    b"Content-Length: 3, 3", b"Content-Length: 0", b"Content-Length:", b"Content_Length: 7", b"Content-Length\t: 3",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked ",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: \x0bchunked", b"Transfer_Encoding: chunked", b"Transfer-Encoding: chunked;a=b",
    b"Connection: close", b"Connection: keep-alive, x-a", b"Connection: upgrade", b"Connection: content-length",
    b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x", b"TE: trailers", b"Keep-Alive: timeout=5",
    b"X-A: b", b"x-a:", b"X-A: \xff\x80", b"X-A: a\tb", b"X-A: a\x00b", b"X-A: a\x7f", b"X-A", b": a", b" X-A: b",
    b"X A: b", b"X-A: a\rb", b"X-A: a\nX-B: c", b"\tx", b"X-\xe9: a", b"X-A: a\r", b"X-A: b\x01",
    b"X-Forwarded-For: 1.2.3.4",
])
_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n"])
_BODIES = st.sampled_from([
    b"", b"", b"abc", b"abc", b"abcd", b"ab", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n",
    b"3;a=b\r\nabc\r\n0\r\nX-T: c\r\n\r\n", b"3;a=\"b\\\"\"\r\nabc\r\n00\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n", b"3\r\nabc\r\n0\r\nX T: c\r\n\r\n", b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n", b"3;\x00\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\n", b"1\r\n\r\r\n0\r\n\r\n",
])
_REQUEST_LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST / HTTP/1.1"] * 8
    + [
        b"GET / HTTP/1.0", b"POST /a?b HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://a/b HTTP/1.1", b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ", b"GET /\x00 HTTP/1.1", b"GET /a b HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/1.2", b"GET /",
        b"GET / http/1.1", b"G\tT / HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"PRI * HTTP/2.0", b"GET /\xe9 HTTP/1.1", b"",
        b"QUERY / HTTP/1.1", b"FOO / HTTP/1.1", b"GET * HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /# HTTP/1.1",
        b"\x16\x03\x01",
    ]
)
_STATUS_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK"] * 10
    + [
        b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200", b"HTTP/1.1 200 ",
        b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.2 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200 O\x00K", b"http/1.1 200 OK", b"", b"ICY 200 OK",
        b"HTTP/1.1 200 \xc3\xa9", b"HTTP/1.1 -20 OK",
    ]
)


def _message(lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    ended = st.builds(lambda line, end: line + end, _LINES, _ENDS)
    first = st.builds(lambda line, end: line + end, lines, _ENDS)
    hosted = st.sampled_from([b"Host: a\r\n"] * 6 + [b""])
    fields = st.lists(ended, max_size=4).map(b"".join)
    return st.builds(
        lambda start, host, rest, end, body: start + host + rest + end + body, first, hosted, fields, _ENDS, _BODIES
    )


REQUESTS = _message(_REQUEST_LINES)
RESPONSES = _message(_STATUS_LINES)
# What a client sends over a connection, what an upstream sends.
REQUEST_STREAMS = st.lists(REQUESTS, min_size=1, max_size=3).map(b"".join)
RESPONSE_STREAMS = st.lists(RESPONSES, min_size=1, max_size=3).map(b"".join)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces
