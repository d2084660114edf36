"""Requests and answers that nobody expects and everybody gets: what conformance throws at every kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from apigateway.flow.faults import UPSTREAM_RESET
from apigateway.testing.harness import Answer, Gateway

ODD = "\x80\xff\t caf\xe9 \xa0\"',;=%00{}<>\\"

_FIELDS = (
    "Accept",
    "Authorization",
    "Cookie",
    "Content-Type",
    "Origin",
    "Access-Control-Request-Method",
    "X-API-Key",
    "Vary",
    "Set-Cookie",
    "User-Agent",
    "Range",
    "If-None-Match",
    "SOAPAction",
)

_Probe = Callable[[Gateway], Answer]

PROBES: dict[str, _Probe] = {
    "a bare request": lambda gateway: gateway.call(),
    "HEAD": lambda gateway: gateway.call("HEAD"),
    "HEAD of something long": lambda gateway: gateway.call(
        "HEAD", upstream=(200, {"Content-Length": "1000000", "Content-Type": "application/json"}, b"")
    ),
    "an answer 204": lambda gateway: gateway.call(upstream=(204, (), b"")),
    "an answer 304": lambda gateway: gateway.call(upstream=(304, {"ETag": '"v"', "Content-Length": "1234"}, b"")),
    "a method nobody knows": lambda gateway: gateway.call("PROPFIND", "/?a=1"),
    "OPTIONS without an origin": lambda gateway: gateway.call("OPTIONS"),
    "HTTP/1.0": lambda gateway: gateway.call(version="1.0"),
    "odd octets in every field": lambda gateway: gateway.call(
        headers=[(name, ODD) for name in _FIELDS], upstream=(200, [(name, ODD) for name in _FIELDS], b"\xff\x00")
    ),
    "empty fields": lambda gateway: gateway.call(headers=[(name, "") for name in _FIELDS]),
    "repeated fields": lambda gateway: gateway.call(headers=[(name, value) for name in _FIELDS for value in "ab"]),
    "a huge field": lambda gateway: gateway.call(headers=[("X-Huge", "h" * 200_000), ("Cookie", "c=" * 50_000)]),
    "a thousand fields": lambda gateway: gateway.call(headers=[(f"X-{number}", "v") for number in range(1000)]),
    "an odd target": lambda gateway: gateway.call(target="/%41;x=%2F?&&=&a&=b&%zz=%ff&%00=+"),
    "a long target": lambda gateway: gateway.call(target="/" + "a/" * 2000 + "?" + "b=c&" * 2000),
    "a body in pieces": lambda gateway: gateway.call("POST", chunks=[b"\xff", b"", b"{", b"\x00" * 5000]),
    "a body of no octets": lambda gateway: gateway.call("POST", chunks=[]),
    "a body that is no JSON": lambda gateway: gateway.call(
        "PUT", headers={"Content-Type": "application/json; charset=\"nonsense"}, body=b'{"a":'
    ),
    "a client without an address": lambda gateway: gateway.call(client=""),
    "an IPv6 client": lambda gateway: gateway.call(client="2001:db8::1"),
    "an upstream that fails": lambda gateway: gateway.call(upstream=UPSTREAM_RESET),
}

class _Watch:
    """Counts what a piece of code asks of the operating system. Audit hooks stay for ever, so there is one."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._told)

    def _told(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is not None and event.startswith(_IO):
            self.seen.append(event)


_IO = ("open", "socket.", "subprocess.", "os.", "urllib.", "shutil.", "tempfile.", "sqlite3.", "ftplib.", "smtplib.")
_WATCH = _Watch()


@contextmanager
def watched() -> Iterator[list[str]]:
    """What is asked of files, sockets and processes inside, as Python's audit events."""
    _WATCH.install()
    seen: list[str] = []
    _WATCH.seen = seen
    try:
        yield seen
    finally:
        _WATCH.seen = None
