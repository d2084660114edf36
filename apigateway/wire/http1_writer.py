"""Writing HTTP/1 bodies: the framing, and that it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.fields import WRITERS_OWN, allowed_trailers
from apigateway.wire.headers import Headers

NOTHING: Final = 0
SIZED: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3


class BodyWriter:
    """The bodies of a connection on their way out, one after the other.

    mode NOTHING drops what is written (an answer to HEAD, a 204, a 304); SIZED raises LocalProtocolError
    for an octet too many, and at the end for one too few; CHUNKED frames; UNTIL_CLOSE passes through.
    """

    __slots__ = ("_left", "ended", "mode")

    def __init__(self) -> None:
        self.begin(NOTHING)
        self.ended = True

    def begin(self, mode: int, length: int = 0) -> None:
        """Begin with the next message; length: octets of a SIZED one."""
        self.mode = mode
        self._left = length
        self.ended = False

    def data(self, chunk: bytes) -> bytes:
        if self.ended:
            raise LocalProtocolError("body octets after the end of the message")
        mode = self.mode
        if mode == SIZED:
            self._left -= len(chunk)
            if self._left < 0:
                raise LocalProtocolError("more body octets than were announced")
            return chunk
        if mode == CHUNKED:
            # An empty chunk would end the body (RFC 9112 7.1).
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        return chunk if mode == UNTIL_CLOSE else b""

    def end(self, trailers: Headers | None) -> bytes:
        if self.ended:
            raise LocalProtocolError("the message had ended")
        if self.mode == SIZED and self._left:
            raise LocalProtocolError("fewer body octets than were announced")
        self.ended = True
        if self.mode != CHUNKED:
            return b""
        if not trailers:
            return b"0\r\n\r\n"
        return b"0\r\n%b\r\n" % field_lines(allowed_trailers(trailers.lines))


def field_lines(lines: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Fields as written, each with its CRLF; those that the writer itself sets are left out."""
    pieces: list[bytes] = []
    for name, value in lines:
        if name not in WRITERS_OWN:
            pieces.append(name)
            pieces.append(b": ")
            pieces.append(value)
            pieces.append(b"\r\n")
    return b"".join(pieces)
