"""Reading HTTP/1 messages one at a time, over llhttp, never an octet past their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade

from apigateway.wire.errors import Refused
from apigateway.wire.field_lines import NO_CALLBACKS, LineJudge, valid_value
from apigateway.wire.fields import CODING, FORWARDED, PLAIN, REMEMBERED, FieldTable
from apigateway.wire.framing import body_within, parser_refusal
from apigateway.wire.http1_chunked import BLANK_LINE, ChunkedBody, Parser, past_blank_line
from apigateway.wire.limits import Limits
from apigateway.wire.message import END, Event, MessageEnd, Refusal

_JUDGE: Final = LineJudge()

HEAD: Final = 0
SIZED: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3
DONE: Final = 4
TUNNEL: Final = 5
FAILED: Final = 6

_SPACE: Final = 0x20


class Http1Reader:
    """The half that both machines share: octets in, events of one message out.

    llhttp cannot be paused, and would parse whatever follows a message. But in strict mode a head ends
    in CRLF CRLF, and so does a chunked body; so it is never fed past the next CRLF CRLF, and what it has
    not been fed stays here untouched. A body of known length is counted off without llhttp, and so is
    one that the close ends; a chunked one is read by ChunkedBody.

    State: HEAD -> (SIZED | CHUNKED | UNTIL_CLOSE ->) DONE -> HEAD; TUNNEL after a switch of protocols;
    FAILED after a Refusal, which is the last event. A parser lives for one message.
    """

    __slots__ = (
        "_at", "_body", "_chunked", "_count", "_data", "_doubt", "_events", "_few_lines", "_forwarded",
        "_head", "_headed", "_left", "_limits", "_lines", "_parser", "_special", "_state", "_table", "_whole",
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
        self._begin_message()

    # ---- for the machines

    def _begin_message(self) -> None:
        self._state = HEAD
        self._head = b""
        self._parser: Parser | None = None
        self._doubt: Refused | None = None
        self._chunked: ChunkedBody | None = None
        self._headed = False
        self._count = 0
        self._lines: list[tuple[bytes, bytes]] = []
        self._special: dict[int, bytes] = {}
        self._forwarded: list[tuple[bytes, bytes]] | None = None

    def _ordinary(self, line: bytes) -> bool:
        """Whether a first line may be read without llhttp, by `_on_head` alone."""
        return False

    def _on_head(self, line: bytes) -> None:
        """A head is complete, `line` is its first: add its event and say, by `_expect_body`, what follows."""

    def _on_end(self) -> None:
        """The message is complete; its MessageEnd is the last event."""

    def _check_line(self, head: bytes) -> None:
        """Refuse a head, be it not complete, whose first line alone is too long."""

    def _refusal(self, refusal: Refusal) -> Refusal:
        return refusal

    def _expect_body(self, length: int | None, chunked: bool) -> None:
        """length: octets, 0 for no body; None with chunked False: until the close."""
        if length:
            body_within(length, self._limits.max_body)
        if chunked:
            self._state = CHUNKED
            # A parser of its own: the head's is gone, or stopped at an Upgrade that is none of ours, which RFC
            # 9110 7.8 lets us ignore.
            self._parser = None
            self._chunked = ChunkedBody(self.PARSER, self.CHUNKED_HEAD, self._limits, self._table)
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
            end = data.find(BLANK_LINE) + 4
            if 4 < end <= self._whole:
                return self._take_head(data, end)
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        return self._read()

    def _take_head(self, data: bytes, end: int) -> list[Event]:
        """A head that came whole in one read, as nearly all do: the same as `_read`, without what is for the others.

        llhttp is asked only for lines that were not met before. Where anything is out of the ordinary, everything is
        begun anew on the long way, which knows what to say.
        """
        head = data if end == len(data) else data[:end]
        raws = head.split(b"\r\n")
        ends = len(raws) - 1
        if ends > self._few_lines or head.count(b"\n") != ends or head.count(b"\r") != ends:
            return self._anew(data)  # half a line end among them: it is left to llhttp's own idea of lines
        first = raws[0]
        if not self._ordinary(first) or not self._sort(raws):
            return self._anew(data)
        events: list[Event] = []
        self._events = events
        rest = len(data) - end
        if rest:
            self._data, self._at = data, end
        try:
            self._on_head(first)
            if rest and self._state != DONE:
                return self._take_behind(events)
        except Refused as refused:
            if not events:
                return self._anew(data)
            self._fail(refused.refusal)
        return events

    def _sort(self, raws: list[bytes]) -> bool:
        """Sort the lines of a head into ordinary and special fields; False where one is no field line.

        A line that is remembered has been looked at before.
        """
        table, special, fields = self._table, self._special, self._lines
        news: list[bytes] = []
        kept: list[tuple[bytes, tuple[bytes, bytes]]] = []
        for index in range(1, len(raws) - 2):
            raw = raws[index]
            field = table.lines.get(raw)
            if field is not None:
                fields.append(field)
                continue
            name, colon, value = raw.partition(b":")
            value = value.strip(b" \t")
            lower, kind = table.names.get(name) or table.look_up(name)
            if kind == PLAIN:
                news.append(raw)
                field = (lower, value)
                fields.append(field)
                if lower in REMEMBERED:
                    kept.append((raw, field))
            elif kind == FORWARDED:
                news.append(raw)
                if self._forwarded is None:
                    self._forwarded = []
                self._forwarded.append((lower, value))
            elif colon and valid_value(value) and (kind != CODING or raw[-1] > _SPACE):
                # Of white space behind a transfer coding llhttp has a stricter idea: it is asked, on the long way.
                special[kind] = special[kind] + b", " + value if kind in special else value
            else:
                return False
        if news:
            if not _JUDGE.accepts(news):
                return False
            for raw, field in kept:
                table.remember(raw, field)
        return True

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
        self._forget_chunked()
        self._forget_data()

    def _forget_data(self) -> None:
        self._data = b""
        self._at = 0

    def _rest(self) -> bytes:
        rest = self._data[self._at :]
        self._forget_data()
        return rest

    def close(self) -> None:
        """The connection is over, and nothing more will come. A parser holds who it calls."""
        self._parser = None
        self._forget_chunked()

    def _forget_chunked(self) -> None:
        if self._chunked is not None:
            self._chunked.close()
            self._chunked = None

    # ---- the parts of a message

    def _read_head(self) -> None:
        data, at, before = self._data, self._at, self._head
        end = past_blank_line(data, at, before[-3:])
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
            self._doubt = self._refused_by_parser(str(error), head)
            if not self._headed:
                raise self._doubt from None
        if end >= 0:
            self._finish_head(head)

    def _refused_by_parser(self, reason: str, head: bytes) -> Refused:
        if reason == "Invalid method encountered":
            # Judged by the octets up to the first wrong one, as if they had come one by one: some ten of them.
            parser = self.PARSER(NO_CALLBACKS)
            for at in range(len(head)):
                try:
                    parser.feed_data(head[at : at + 1])
                except (HttpParserError, HttpParserUpgrade):  # a CONNECT may end without a version
                    return parser_refusal(reason, head[: at + 1])
        return parser_refusal(reason, head)

    def _check_blank(self, head: bytes) -> None:
        """Refuse a head, be it not complete, for what empty lines there are before it."""

    def _check_head(self, head: bytes) -> None:
        self._check_blank(head)
        self._check_line(head)
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
        body_within(self._body, self._limits.max_body)

    def _read_chunked(self) -> None:
        body = self._chunked
        assert body is not None
        self._at = body.read(self._data, self._at)
        if body.ended:
            self._flush()
            self._end(body.end())

    def _flush(self) -> None:
        """Tell what has come of a chunked body."""
        if self._chunked is not None:
            piece = self._chunked.take()
            if piece:
                self._events.append(piece)

    def _end(self, end: MessageEnd) -> None:
        self._events.append(end)
        self._state = DONE
        self._parser = None
        if self._chunked is not None:
            self._forget_chunked()
        self._on_end()

    # ---- called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1  # lines as sent: the repeated ones among the special are joined
        lower, kind = self._table.names.get(name) or self._table.look_up(name)
        if kind == PLAIN:
            self._lines.append((lower, value))
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
