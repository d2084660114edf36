"""Reading a chunked body over llhttp, never an octet past its end (RFC 9112 7.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from httptools import HttpParserError

from apigateway.wire.errors import Refused
from apigateway.wire.fields import PLAIN, FieldTable, allowed_trailers
from apigateway.wire.framing import body_within, parser_refusal
from apigateway.wire.headers import Headers
from apigateway.wire.limits import Limits
from apigateway.wire.message import END, MessageEnd

BLANK_LINE: Final = b"\r\n\r\n"
# A chunk's own octets: up to 16 digits of size, and two CRLF.
_CHUNK_COST: Final = 20
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]+")
# Digits of a chunk's size that are kept until its line is complete: one more than llhttp takes.
_LONGEST_SIZE: Final = 17


class Parser(Protocol):
    """What is used of httptools' parsers."""

    def feed_data(self, data: bytes) -> None: ...


class _Closed:
    """Takes the place of the parser of a body that is not read on."""

    __slots__ = ()

    def feed_data(self, data: bytes) -> None:
        """Nothing."""


_CLOSED: Final = _Closed()


class ChunkedBody:
    """One chunked body: octets in; `take` gives the content that came, `end` its end with the trailer fields.

    llhttp cannot be paused, so it is never fed past the CRLF CRLF behind which the body ends. That is found by walking
    from chunk to chunk, without a look at the content: a search would stop at whatever content looks like an end, and
    a client could make each seven octets a feed of their own.

    ended: the body is complete, and no more octets are read.
    """

    __slots__ = (
        "_chunks", "_complete", "_count", "_fed", "_left", "_limits", "_line", "_lines", "_parser", "_pieces", "_size",
        "_table", "_tail", "_trailing", "ended",
    )

    def __init__(
        self, parser: Callable[[Any], Parser], head: bytes, limits: Limits, table: FieldTable
    ) -> None:
        """parser: llhttp's for this kind of message; head: one that makes it expect a chunked body."""
        self._limits = limits
        self._table = table
        self._lines: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = self._fed = self._chunks = self._count = 0
        self._line = b""  # how a chunk's line begins that is not complete
        self._left = 0  # octets of a chunk and of the CRLF behind it
        self._tail = b"\r\n"  # what came last, from the last chunk's line on
        self._trailing = self._complete = self.ended = False
        self._parser: Parser = parser(self)
        self._parser.feed_data(head)
        self._count = 0

    def read(self, data: bytes, at: int) -> int:
        """Read on in data[at:]; the index behind what was read: never past the body's end. Raises Refused."""
        end = self._find_end(data, at)
        piece = data[at:] if end < 0 else data[at:end]
        self._fed += len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpParserError as error:
            raise parser_refusal(str(error), b"") from None
        self._check()
        if self._complete != (end >= 0):
            raise Refused(400, "The chunked body does not end in an empty line.", "RFC 9112 7.1")
        if self._complete:
            self._check_end()
            self.ended = True
        return at + len(piece)

    def take(self) -> bytes:
        """The content since the last time, as one piece: fewer writes for who passes it on."""
        pieces = self._pieces
        self._pieces = []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> MessageEnd:
        """The end, with the trailer fields that may be passed on."""
        if not self._lines:
            return END
        trailers = allowed_trailers([(name, value.rstrip(b" \t")) for name, value in self._lines])
        return MessageEnd(Headers(trailers)) if trailers else END

    def close(self) -> None:
        """No more of it is read. The parser calls this body, and holds it."""
        self._parser = _CLOSED

    # ---- inside

    def _find_end(self, data: bytes, at: int) -> int:
        """The index behind the body's end, or -1 where it is not in data[at:].

        What is wrong on the way is not said here: llhttp is fed the same octets, and refuses them.
        """
        while at < len(data) and not self._trailing:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at)
            line = self._line + data[at : at + _LONGEST_SIZE if end < 0 else end]
            if end < 0:
                self._line = line[:_LONGEST_SIZE]
                return -1
            self._line = b""
            at = end + 1
            size = _SIZE.match(line)
            if size is None:
                return -1
            self._left = int(size[0], 16) + 2
            self._trailing = self._left == 2
        if not self._trailing:
            return -1
        end = past_blank_line(data, at, self._tail)
        self._tail = (self._tail + data[at:])[-3:]
        return end

    def _check(self) -> None:
        limits = self._limits
        body_within(self._size, limits.max_body)
        # httptools tells nothing of extensions and unfinished trailers: what is neither body nor a chunk's
        # own cost must be one of them.
        extra = self._fed - self._size - _CHUNK_COST * (self._chunks + 1)
        if extra > limits.max_chunk_extensions + limits.max_trailers:
            raise Refused(400, "Chunk extensions or trailers are too large.", "RFC 9112 7.1.1")

    def _check_end(self) -> None:
        limits = self._limits
        size = 0
        for name, value in self._lines:
            size += len(name) + len(value) + 4
        if size > limits.max_trailers or self._count > limits.max_fields:
            raise Refused(431, "The trailer fields are too large.", "RFC 6585 5")
        extra = self._fed - self._size - size - _CHUNK_COST * self._chunks
        if extra > limits.max_chunk_extensions + limits.max_fields:
            raise Refused(400, "Chunk extensions are too large.", "RFC 9112 7.1.1")

    # ---- called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        lower, kind = self._table.names.get(name) or self._table.look_up(name)
        if kind == PLAIN:  # no other may come as a trailer
            self._lines.append((lower, value))

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = True


def past_blank_line(data: bytes, at: int, tail: bytes) -> int:
    """The index after the first CRLF CRLF that ends in data[at:], or -1; tail: the three octets before."""
    if tail:
        # `tail` cannot hold all four, so a match reaches into data[at:].
        edge = (tail + data[at : at + 3]).find(BLANK_LINE)
        if edge >= 0:
            return at + edge + 4 - len(tail)
    end = data.find(BLANK_LINE, at)
    return end + 4 if end >= 0 else -1
