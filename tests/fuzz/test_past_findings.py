"""Inputs that something failed on once."""

from __future__ import annotations

import pytest
from fuzzing.all import TARGETS
from fuzzing.target import tried

_API = b"version: 1\nlisteners: [{name: a, address: '127.0.0.1:0'}]\napis: [{name: a, %b, routes: []}]\n"

FOUND = [
    # A draft was made of a date that had been refused, or that has no moment in UTC.
    ("yaml files, checked", _API % b"deprecated: soon"),
    ("yaml files, checked", _API % b"sunset: '0001-01-01T00:00:00+14:00'"),
    ("yaml files, checked", _API % b"deprecated: '9999-12-31T23:59:59-01:00', sunset: '9999-12-31T23:59:59-01:00'"),
    # Nested more deeply than the interpreter goes.
    ("last good revisions", b"[" * 2000),
    # A zone may be any text, as far as the standard library is concerned.
    ("addresses", b"::%]"),
    ("forwarding", b'x-forwarded-for: fe80::1%";proto=https;a="'),
    # A head that came whole was taken, the same one in pieces was not.
    ("http1 requests", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n"),
    # llhttp takes it for the head of a tunnel, or for no method, by how it comes.
    ("http1 requests", b"CONNECT \n\r\nPUT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    # What is no request was told as a failure of ours.
    ("explain calls", b"&url=\xc3\xa9"),
    ("explain calls", b'{"url": "http://["}'),
    ("explain calls", '{"url": "/", "headers": {"a": "\u20ac"}}'.encode()),
    ("explain calls", '{"url": "/", "headers": {"\u20ac": "a"}}'.encode()),
]


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[f"{name} {at}" for at, (name, _) in enumerate(FOUND)])
def test_it_is_fine_now(name: str, data: bytes) -> None:
    (target,) = (one for one in TARGETS if one.name == name)
    tried(target, data)
