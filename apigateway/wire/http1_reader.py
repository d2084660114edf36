"""Reading HTTP/1 messages one at a time, over llhttp, never an octet past their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade

from apigateway.wire.errors import Refused
from apigateway.wire.fields import FORWARDED, PLAIN, FieldTable, allowed_trailers
from apigateway.wire.framing import parser_refusal
from apigateway.wire.headers import Headers
from apigateway.wire.limits import Limits
from apigateway.wire.message import END, Event, MessageEnd, Refusal

_END: Final = b"\r\n\r\n"
# A parser that tells nothing still refuses.
_NO_CALLBACKS: Final = object()
# A chunk's own octets: up to 16 digits of size, and two CRLF (RFC 9112 7.1).
_CHUNK_COST: Final = 20

HEAD: Final = 0
SIZED: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3
DONE: Final = 4
TUNNEL: Final = 5
FAILED: Final = 6


class Parser(Protocol):
    """What is used of httptools' parsers."""

    def feed_data(self, data: bytes) -> None: ...


class Http1Reader:
    """The half that both machines share: octets in, events of one message out.

    llhttp cannot be paused, and would parse whatever follows a message. But in strict mode a head ends
    in CRLF CRLF, and so does a chunked body; so it is never fed past the next CRLF CRLF, and what it has
    not been fed stays here untouched. A body of known length is counted off without llhttp, and so is
    one that the close ends.

    State: HEAD -> (SIZED | CHUNKED | UNTIL_CLOSE ->) DONE -> HEAD; TUNNEL after a switch of protocols;
    FAILED after a Refusal, which is the last event. A parser lives for one message.
    """

    __slots__ = (
        "_at",
        "_body",
        "_chunks",
        "_complete",
        "_count",
        "_data",
        "_doubt",
        "_events",
        "_fed",
        "_few_lines",
        "_forwarded",
        "_head",
        "_headed",
        "_left",
        "_limits",
        "_lines",
        "_may_end",
        "_parser",
        "_pieces",
        "_special",
        "_state",
        "_table",
        "_tail",
        "_whole",
    )

    #: The parser of a message's head.
    PARSER: Callable[[Any], Parser]
    #: Empty lines may come before a message (RFC 9112 2.2: a server ignores them).
    BLANK_BEFORE = False
    #: A head that makes a new parser expect a chunked body.
    CHUNKED_HEAD = b""

    def __init__(self, limits: Limits, table: FieldTable) -> None:
        self._limits = limits
        self._table = table
        self._whole = min(limits.max_head, limits.max_field)  # a head of no more octets is within both
        self._few_lines = limits.max_fields + 2  # ends of the first line, of every field, and of the empty one
        self._data = b""
        self._at = 0
        self._events: list[Event] = []
        self._pieces: list[bytes] = []
        self._begin_message()

    # ---- for the machines

    def _begin_message(self) -> None:
        self._state = HEAD
        self._head = b""
        self._parser: Parser | None = None
        self._doubt: Refused | None = None
        self._headed = self._complete = False
        self._count = 0
        self._lines: list[tuple[bytes, bytes]] = []
        self._special: dict[int, bytes] = {}
        self._forwarded: list[tuple[bytes, bytes]] | None = None

    def _on_head(self, line: bytes) -> None:
        """A head is complete, `line` is its first: add its event and say, by `_expect_body`, what follows."""

    def _on_end(self) -> None:
        """The message is complete; its MessageEnd is the last event."""

    def _line_too_long(self, head: bytes) -> bool:
        """Whether a head's first line alone is what makes it too large."""
        return False

    def _refusal(self, refusal: Refusal) -> Refusal:
        return refusal

    def _expect_body(self, length: int | None, chunked: bool) -> None:
        """length: octets, 0 for no body; None with chunked False: until the close."""
        limit = self._limits.max_body
        if length and limit is not None and length > limit:
            raise Refused(413, "The body is too large.", "RFC 9110 15.5.14")
        if chunked:
            self._begin_chunked()
        elif length is None:
            self._state = UNTIL_CLOSE
            self._parser = None
            self._body = 0
        elif length:
            self._state = SIZED
            self._left = length
            self._parser = None
        else:
            self._end(END)

    def _take(self, data: bytes) -> list[Event]:
        """Add octets to those held and read on."""
        if self._state == HEAD and not self._head and self._at >= len(self._data):
            end = data.find(_END) + 4
            if 4 < end <= self._whole:
                return self._take_head(data, end)
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        return self._read()

    def _take_head(self, data: bytes, end: int) -> list[Event]:
        """A head that came whole in one read, as nearly all do: the same as `_read`, without what is for the others.

        Where anything is out of the ordinary, everything is begun anew on the long way, which knows what to say.
        """
        head = data if end == len(data) else data[:end]
        self._parser = None
        try:
            self.PARSER(_NO_CALLBACKS).feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            return self._anew(data)
        raws = head.split(b"\r\n")
        ends = len(raws) - 1
        if not raws[0] or ends > self._few_lines or head.count(b"\n") != ends or head.count(b"\r") != ends:
            return self._anew(data)  # half a line end among them: it is left to llhttp's own idea of lines
        self._sort(raws)
        events: list[Event] = []
        self._events = events
        rest = len(data) - end
        if rest:
            self._data, self._at = data, end
        try:
            self._on_head(raws[0])
            if rest and self._state != DONE:
                return self._take_behind(events)
        except Refused as refused:
            self._fail(refused.refusal)
        return events

    def _sort(self, raws: list[bytes]) -> None:
        """Sort the lines of a head, which llhttp has accepted, into ordinary and special fields."""
        append, table, special = self._lines.append, self._table, self._special
        known, names = table.lines.get, table.names.get
        for raw in raws[1:-2]:
            field = known(raw)
            if field is not None:
                append(field)
                continue
            name, _, value = raw.partition(b":")
            value = value.strip(b" \t")
            lower, kind = names(name) or table.look_up(name)
            if kind == PLAIN:
                append((lower, value))
                table.remember(raw, (lower, value))
            elif kind == FORWARDED:
                if self._forwarded is None:
                    self._forwarded = []
                self._forwarded.append((lower, value))
            else:
                special[kind] = special[kind] + b", " + value if kind in special else value

    def _take_behind(self, events: list[Event]) -> list[Event]:
        """What came in the same read behind a head: most often exactly its body."""
        data, at = self._data, self._at
        if self._state == SIZED and self._left == len(data) - at:
            self._forget_data()
            events.append(data[at:])
            self._end(END)
            return events
        return events + self._read()

    def _anew(self, data: bytes) -> list[Event]:
        self._begin_message()
        self._data, self._at = data, 0
        return self._read()

    def _read(self) -> list[Event]:
        events: list[Event] = []
        self._events = events
        try:
            while self._at < len(self._data):
                state = self._state
                if state == HEAD:
                    self._read_head()
                elif state == SIZED:
                    self._read_sized()
                elif state == CHUNKED:
                    self._read_chunked()
                elif state == UNTIL_CLOSE:
                    self._read_until_close()
                else:
                    break
            self._flush()
        except Refused as refused:
            self._fail(refused.refusal)
        if self._at >= len(self._data):
            self._forget_data()  # an idle connection keeps no buffer alive
        return events

    def _fail(self, refusal: Refusal) -> None:
        self._flush()
        self._events.append(self._refusal(refusal))
        self._state = FAILED
        self._parser = None
        self._forget_data()

    def _forget_data(self) -> None:
        self._data = b""
        self._at = 0

    def _rest(self) -> bytes:
        rest = self._data[self._at :]
        self._forget_data()
        return rest

    # ---- the parts of a message

    def _read_head(self) -> None:
        data, at, before = self._data, self._at, self._head
        end = _past_end(data, at, before[-3:])
        piece = data[at:] if end < 0 else data[at:end]
        head = before + piece if before else piece
        if end < 0 or len(head) > self._limits.max_head:
            self._check_head(head)
        self._at = len(data) if end < 0 else end
        self._head = head
        if self._parser is None:
            self._parser = self.PARSER(self)
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._parser = None  # it will not read on, even where we do not switch
        except HttpParserError as error:
            # Where a head is whole our own rules speak first: they know more than llhttp does.
            self._doubt = parser_refusal(str(error), head)
            if not self._headed:
                raise self._doubt from None
        if end >= 0:
            self._finish_head(head)

    def _check_blank(self, head: bytes) -> None:
        """Refuse a head, be it not complete, for what empty lines there are before it."""

    def _check_head(self, head: bytes) -> None:
        self._check_blank(head)
        if self._line_too_long(head):
            raise Refused(414, "The request target is too long.", "RFC 9110 15.5.15")
        if len(head) > self._limits.max_head:
            raise Refused(431, "The head is too large.", "RFC 6585 5")

    def _finish_head(self, head: bytes) -> None:
        if not self._headed:
            # Only empty lines so far (RFC 9112 2.2), or HTTP/2's preface: llhttp waits for more of it. What
            # follows may come the short way, and would then leave this parser to a body it has no head of.
            self._head = b""
            self._parser = None
            self._blank(head)
            return
        limits = self._limits
        self._check_blank(head)
        if self._count > limits.max_fields:
            raise Refused(431, "There are too many fields.", "RFC 6585 5")
        if len(head) > limits.max_field and any(
            len(line) > limits.max_field for line in head.split(b"\r\n")[1:]
        ):
            raise Refused(431, "A field is too large.", "RFC 6585 5")
        if b" \r\n" in head or b"\t\r\n" in head:
            self._trim()
        self._head = b""
        first = head.lstrip(b"\r\n") if self.BLANK_BEFORE else head
        self._on_head(first.partition(b"\r\n")[0])

    def _blank(self, head: bytes) -> None:
        raise Refused(400, "There is no message.", "RFC 9112 2.2")

    def _trim(self) -> None:
        """llhttp leaves white space at the end of a value (RFC 9112 5.1: it is not part of it)."""
        self._lines[:] = [(name, value.rstrip(b" \t")) for name, value in self._lines]
        self._special = {kind: value.rstrip(b" \t") for kind, value in self._special.items()}
        if self._forwarded is not None:
            self._forwarded[:] = [(name, value.rstrip(b" \t")) for name, value in self._forwarded]

    def _read_sized(self) -> None:
        data, at = self._data, self._at
        piece = data[at : at + self._left]
        self._at = at + len(piece)
        self._left -= len(piece)
        self._events.append(piece)
        if not self._left:
            self._end(END)

    def _read_until_close(self) -> None:
        piece = self._rest()
        self._body += len(piece)
        self._events.append(piece)
        self._check_body()

    def _check_body(self) -> None:
        limit = self._limits.max_body
        if limit is not None and self._body > limit:
            raise Refused(413, "The body is too large.", "RFC 9110 15.5.14")

    def _begin_chunked(self) -> None:
        self._state = CHUNKED
        self._lines = []
        self._special = {}
        self._forwarded = None
        self._body = self._fed = self._chunks = 0
        self._complete = False
        self._tail = b"\r\n"  # of the head
        self._may_end = False
        if self._parser is None:
            # The head's own stopped at an Upgrade that is none of ours: RFC 9110 7.8 lets us ignore it.
            self._parser = self.PARSER(self)
            self._parser.feed_data(self.CHUNKED_HEAD)
            self._special = {}
        self._count = 0

    def _read_chunked(self) -> None:
        data, at = self._data, self._at
        end = self._chunked_end(data, at)
        piece = data[at:] if end < 0 else data[at:end]
        self._at = at + len(piece)
        self._fed += len(piece)
        self._tail = (self._tail + piece)[-3:] if len(piece) < 3 else piece[-3:]
        assert self._parser is not None
        try:
            self._parser.feed_data(piece)
        except HttpParserError as error:
            raise parser_refusal(str(error), b"") from None
        self._check_chunked()
        if self._complete:
            if end < 0:
                raise Refused(400, "The chunked body does not end in an empty line.", "RFC 9112 7.1")
            self._finish_chunked()
        elif end >= 0:
            self._may_end = False

    def _chunked_end(self, data: bytes, at: int) -> int:
        """The index where the body may end next, or -1.

        The last chunk's line begins with a 0, and the first CRLF CRLF behind that is the end. So after
        every CRLF and 0 that comes by, be it content, one CRLF CRLF is where to look; the empty lines of a
        text are not, which would be a way to make us feed two octets at a time.
        """
        if self._may_end:
            return _past_end(data, at, self._tail)
        before = self._tail[-2:]
        edge = (before + data[at : at + 2]).find(b"\r\n0")
        zero = at + edge - len(before) if edge >= 0 else data.find(b"\r\n0", at)
        if edge < 0 and zero < 0:
            return -1
        self._may_end = True
        return _past_end(data, zero + 2, b"")

    def _check_chunked(self) -> None:
        self._check_body()
        limits = self._limits
        # httptools tells nothing of extensions and unfinished trailers: what is neither body nor a chunk's
        # own cost must be one of them.
        extra = self._fed - self._body - _CHUNK_COST * (self._chunks + 1)
        if extra > limits.max_chunk_extensions + limits.max_trailers:
            raise Refused(400, "Chunk extensions or trailers are too large.", "RFC 9112 7.1.1")

    def _finish_chunked(self) -> None:
        limits = self._limits
        lines = self._lines
        size = sum(len(name) + len(value) + 4 for name, value in lines)
        if size > limits.max_trailers or self._count > limits.max_fields:
            raise Refused(431, "The trailer fields are too large.", "RFC 6585 5")
        extra = self._fed - self._body - size - _CHUNK_COST * self._chunks
        if extra > limits.max_chunk_extensions + limits.max_fields:
            raise Refused(400, "Chunk extensions are too large.", "RFC 9112 7.1.1")
        self._flush()
        trailers = allowed_trailers([(name, value.rstrip(b" \t")) for name, value in lines])
        self._end(MessageEnd(Headers(trailers)) if trailers else END)

    def _flush(self) -> None:
        """Give the chunks of one feed as one piece: fewer writes for who passes them on."""
        pieces = self._pieces
        if pieces:
            self._events.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            self._pieces = []

    def _end(self, end: MessageEnd) -> None:
        self._events.append(end)
        self._state = DONE
        self._parser = None
        self._on_end()

    # ---- called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1  # lines as sent: the repeated ones among the special are joined
        lower, kind = self._table.names.get(name) or self._table.look_up(name)
        if kind == PLAIN:
            self._lines.append((lower, value))
        elif self._state == CHUNKED:
            return  # no such field may come as a trailer
        elif kind == FORWARDED:
            if self._forwarded is None:
                self._forwarded = []
            self._forwarded.append((lower, value))
        elif kind in self._special:
            self._special[kind] += b", " + value
        else:
            self._special[kind] = value

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = True


def _past_end(data: bytes, at: int, tail: bytes) -> int:
    """The index after the first CRLF CRLF that ends in data[at:], or -1; tail: the three octets before."""
    if tail:
        # `tail` cannot hold all four, so a match reaches into data[at:].
        edge = (tail + data[at : at + 3]).find(_END)
        if edge >= 0:
            return at + edge + 4 - len(tail)
    end = data.find(_END, at)
    return end + 4 if end >= 0 else -1
