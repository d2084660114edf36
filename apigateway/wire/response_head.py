"""From a parsed head to a Response or Interim, as the request before it makes it mean."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from apigateway.wire import framing
from apigateway.wire.errors import Refused
from apigateway.wire.fields import CODING, CONNECTION, KEEP_ALIVE, LENGTH, UPGRADE, connection_options, tokens
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Response

Lines = list[tuple[bytes, bytes]]


class ResponseHead:
    """A response head as read.

    message: what becomes the event. chunked: the body is. persistent: RFC 9112 9.3, of the head alone.
    keep_alive_timeout: seconds of `Keep-Alive: timeout=N`, None without it.
    """

    __slots__ = ("chunked", "keep_alive_timeout", "message", "persistent")

    def __init__(
        self, line: bytes, lines: Lines, special: dict[int, bytes], method: bytes, asked: bytes
    ) -> None:
        """method, asked: of the request answered (asked: the protocol it wanted to switch to, or b"")."""
        version, status, reason = _status_line(line)
        options = connection_options(special.get(CONNECTION))
        if options.names:
            lines = [field for field in lines if field[0] not in options.names]
        headers = Headers()
        headers.lines = lines
        self.persistent = options.persistent(version)
        self.keep_alive_timeout = _timeout(special[KEEP_ALIVE]) if KEEP_ALIVE in special else None
        self.chunked = False
        self.message: Response | Interim
        # An interim response has no body whatever it says (RFC 9112 6.3); what it says has to be understood.
        length = framing.body_length(special.get(LENGTH), special.get(CODING), version)
        if status < 200 and status != 101:
            self.message = Interim(status, headers)
            return
        response = Response(status, headers, reason=reason)
        response.bodiless = method == b"HEAD" or status in (101, 204, 304)
        if status == 101:
            response.upgrade = _switched(options.upgrade, special.get(UPGRADE), asked)
        elif status != 204 and LENGTH in special:
            response.length = length
        self.chunked = CODING in special and not response.bodiless
        self.message = response


_remembered: Final = lru_cache(256)(framing.status_line)


def _status_line(line: bytes) -> tuple[str, int, bytes]:
    """The same few come again and again."""
    return _remembered(line) if len(line) <= 64 else framing.status_line(line)


def _switched(named: bool, value: bytes | None, asked: bytes) -> bytes:
    """RFC 9110 15.2.2: a 101 says what it switches to, and only to what was asked for."""
    if not asked or not named or value is None or asked not in tokens(value):
        raise Refused(502, "The upstream switches protocols without being asked.", "RFC 9110 7.8")
    return asked


def _timeout(value: bytes) -> float | None:
    for member in tokens(value):
        name, _, seconds = member.partition(b"=")
        if name == b"timeout" and seconds.isdigit() and len(seconds) < 10:
            return float(seconds)
    return None
