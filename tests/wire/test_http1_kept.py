"""What is kept between messages, and what one message may cost: nothing that a client chooses may add up."""

from __future__ import annotations

from typing import Any

import pytest
from httptools import HttpRequestParser
from transcripts import DEFAULT_LIMITS, refusal_of

from apigateway.wire import framing
from apigateway.wire.fields import REQUEST_FIELDS, RESPONSE_FIELDS
from apigateway.wire.headers import Headers
from apigateway.wire.http1_chunked import ChunkedBody
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.message import Request


@pytest.mark.parametrize(
    "line",
    [b"x_forwarded-for : x", b"x_forwarded-\x00: x", b"X_Forwarded-Fo o: x", b"X_Forwarded-(\x7f\x80): x",
     b"x_forwarded-\tTransfer-Encoding : chunked", b"X_Forwarded-For"],
    ids=repr,
)
def test_what_is_no_field_name_is_refused_also_where_it_looks_like_one_of_ours(line: bytes) -> None:
    assert refusal_of(b"GET / HTTP/1.1\r\nHost: gw\r\n" + line + b"\r\n\r\n").status == 400


def test_a_forwarding_field_by_another_spelling_is_dropped() -> None:
    request = Http1Server(DEFAULT_LIMITS).feed(b"GET / HTTP/1.1\r\nHost: gw\r\nX_Forwarded-For: 10.0.0.1\r\n\r\n")[0]
    assert isinstance(request, Request)
    assert (request.headers.lines, request.forwarded) == ([], None)


@pytest.mark.parametrize("name", [b"ApiKey", b"X-Auth-Token", b"X_Api_Key", b"Authorization", b"Cookie"])
def test_no_line_that_may_hold_a_secret_is_remembered(name: bytes) -> None:
    Http1Server(DEFAULT_LIMITS).feed(b"GET / HTTP/1.1\r\nHost: gw\r\n%b: s3cret-of-%b\r\n\r\n" % (name, name))
    assert not any(b"s3cret" in line for line in REQUEST_FIELDS.lines)


def test_no_line_of_a_response_that_may_hold_a_secret_is_remembered() -> None:
    client = Http1Client(DEFAULT_LIMITS)
    client.send_head(Request(b"GET", b"/", Headers()), target=b"/", host=b"up")
    client.send_end()
    client.feed(b"HTTP/1.1 302 Found\r\nLocation: /cb?code=s3cret\r\nSet-Cookie: s3cret=1\r\nContent-Length: 0\r\n\r\n")
    assert not any(b"s3cret" in line for line in RESPONSE_FIELDS.lines)


def test_long_hosts_are_not_remembered() -> None:
    before = framing._valid_host.cache_info().currsize
    assert not framing.valid_host(b"a" * 15_000)
    assert framing._valid_host.cache_info().currsize == before


class Counting:
    """llhttp's parser, and how often it was fed."""

    def __init__(self, told: Any) -> None:
        self._parser = HttpRequestParser(told)
        self.fed = 0

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        self._parser.feed_data(data)


def test_content_that_looks_like_the_end_of_a_body_costs_no_more_than_other_content() -> None:
    parsers: list[Counting] = []

    def made(told: Any) -> Counting:
        parsers.append(Counting(told))
        return parsers[-1]

    content = b"\r\n0\r\n\r\n" * 5000
    body = ChunkedBody(made, Http1Server(DEFAULT_LIMITS).CHUNKED_HEAD, DEFAULT_LIMITS, REQUEST_FIELDS)
    data = b"%x\r\n%b\r\n0\r\n\r\nGET" % (len(content), content)
    assert body.read(data, 0) == len(data) - len(b"GET")
    assert (body.ended, body.take() == content, parsers[0].fed) == (True, True, 2)
