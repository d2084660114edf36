"""The server's side of an HTTP/1 connection, without I/O (RFC 9112)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpRequestParser

from apigateway.wire.errors import LocalProtocolError, Refused
from apigateway.wire.fields import REQUEST_FIELDS
from apigateway.wire.framing import COMMON_METHODS, has_control, unsupported_version
from apigateway.wire.headers import Headers
from apigateway.wire.http1_reader import DONE, FAILED, HEAD, TUNNEL, Http1Reader
from apigateway.wire.http1_writer import CHUNKED, NOTHING, SIZED, UNTIL_CLOSE, BodyWriter, field_lines
from apigateway.wire.limits import Limits
from apigateway.wire.message import END, Event, Interim, Refusal, Request, Response
from apigateway.wire.request_head import read_request

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
# Statuses whose answers are framed in a way of their own.
_ODD: Final = frozenset((*range(100, 200), 204, 304))
# The longest method that llhttp knows and a version leave less than this beside the target.
_LINE_ROOM: Final = 64
# How a request line begins that is read without llhttp: a common method, and a path.
_ORDINARY: Final = tuple(method + b" /" for method in sorted(COMMON_METHODS))
# Octets of empty lines before a request. RFC 9112 2.2 asks for one line; without a bound, each would be a way
# to keep an idle connection for a while more.
_MOST_BLANK: Final = 16


class Http1Server(Http1Reader):
    """One connection from a client.

    `feed` gives the events of the current request only. Once its MessageEnd is out, more octets are held
    unread until `next_request`, which is called when the answer is complete (`send_end`) and the
    connection `reusable`. The answer may be written before the request is complete.
    """

    PARSER = HttpRequestParser
    BLANK_BEFORE = True
    CHUNKED_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    __slots__ = ("_answer", "_blanks", "_final", "_persist", "_request", "_scheme")

    def __init__(self, limits: Limits, scheme: str = "http") -> None:
        """scheme: "http" or "https", as the listener speaks."""
        super().__init__(limits, REQUEST_FIELDS)
        self._scheme = scheme
        self._request: Request | None = None
        self._answer = BodyWriter()
        self._blanks = 0
        self._final = False
        self._persist = True

    # ---- reading

    def feed(self, data: bytes) -> list[Event]:
        """Octets from the client. [] while a request waits for `next_request`, and after a Refusal."""
        if self._state == FAILED or (self._state == DONE and not self._may_follow()):
            return []
        return self._take(data)

    def next_request(self) -> list[Event]:
        """Go on to the next request; the events that held octets give. [] where none may follow."""
        if not self.reusable:
            return []
        self._request = None
        self._answer.ended = self._final = False
        self._begin_message()
        return self._read()

    def eof(self) -> list[Event]:
        """The client closed its side: nothing between requests, Refusal(400) inside one."""
        state = self._state
        if state in (DONE, FAILED, TUNNEL) or (state == HEAD and not self.in_head):
            return []
        self._events = []
        self._fail(Refusal(400, "The connection was closed inside a request.", "RFC 9112 8"))
        return self._events

    def take_rest(self) -> bytes:
        """After a 101: the octets that came behind the request, which are the new protocol's."""
        return self._rest() if self._state == TUNNEL else b""

    @property
    def waiting(self) -> bool:
        """Octets are held that cannot be looked at before `next_request`: stop reading."""
        return self._at < len(self._data)

    @property
    def in_head(self) -> bool:
        """A head has begun and is not complete: the time for heads counts, not that for idling."""
        return self._state == HEAD and bool(self._head.strip(b"\r\n"))

    @property
    def reusable(self) -> bool:
        """The answer and the request are complete and another request may follow."""
        return self._state == DONE and self._answer.ended and self._persist

    # ---- writing

    def send_interim(self, interim: Interim) -> bytes:
        """A 1xx other than 101; nothing for HTTP/1.0, which does not know them (RFC 9110 15.2)."""
        if self._final or not 100 <= interim.status <= 199 or interim.status == 101:
            raise LocalProtocolError(f"{interim.status} cannot be sent here as an interim response")
        if self._request is None or self._request.version == "1.0":
            return b""
        return _status_line(interim.status, b"") + field_lines(interim.headers.lines) + b"\r\n"

    def send_head(self, response: Response, *, close: bool = False) -> bytes:
        """The final head of the current request's answer. close: the connection ends with it.

        Raises LocalProtocolError for a second one, and for a 101 that was not asked for.
        """
        if self._final:
            raise LocalProtocolError("a final response was sent already")
        self._final = True
        request, status = self._request, response.status
        if status == 101:
            return self._switch(response)
        length = response.length
        if length is None or response.bodiless or request is None or request.method == b"HEAD" or status in _ODD:
            framing = self._frame(request, response)
        else:
            framing = b"content-length: %d\r\n" % length
            self._answer.begin(SIZED, length)
        if request is None or not request.persistent or (request.upgrade and self.waiting):
            # Octets held behind an Upgrade that failed: nobody knows which protocol they are (RFC 9110 7.8).
            close = True
        if close or self._state == FAILED or self._answer.mode == UNTIL_CLOSE:
            self._persist = False
            framing += b"connection: close\r\n"
            if self._state == DONE:
                self._forget_data()
        elif request is not None and request.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        line = STATUS_LINES.get(status) if not response.reason else None
        fields = field_lines(response.headers.lines)
        return b"%b%b%b\r\n" % (line or _status_line(status, response.reason), fields, framing)

    def send_data(self, chunk: bytes) -> bytes:
        """A piece of the body, framed. LocalProtocolError for more octets than announced."""
        if not self._final:
            raise LocalProtocolError("body octets before a head")
        return self._answer.data(chunk)

    def send_end(self, trailers: Headers | None = None) -> bytes:
        """The end of the answer. Trailers go out where the client welcomes them (RFC 9110 6.5.1).

        LocalProtocolError for fewer octets than announced.
        """
        if not self._final:
            raise LocalProtocolError("the end of a message before its head")
        if trailers is not None and (self._request is None or not self._request.trailers_welcome):
            trailers = None
        return self._answer.end(trailers)

    # ---- inside

    def _may_follow(self) -> bool:
        return self._persist and (self._request is None or self._request.persistent)

    def _frame(self, request: Request | None, response: Response) -> bytes:
        """The framing fields of an answer; begins its body (RFC 9112 6.3, RFC 9110 8.6)."""
        status, length, answer = response.status, response.length, self._answer
        if status == 204 or status < 200:
            answer.begin(NOTHING)
            return b""
        bodiless = response.bodiless or status == 304 or (request is not None and request.method == b"HEAD")
        if length is not None:
            answer.begin(NOTHING if bodiless else SIZED, length)
            return b"content-length: %d\r\n" % length
        if bodiless:
            answer.begin(NOTHING)
            return b""
        if request is None or request.version == "1.0":
            answer.begin(UNTIL_CLOSE)
            return b""
        answer.begin(CHUNKED)
        return b"transfer-encoding: chunked\r\n"

    def _switch(self, response: Response) -> bytes:
        request = self._request
        if request is None or not request.upgrade or self._state != DONE:
            raise LocalProtocolError("101 without a request that asked for it")
        self._state = TUNNEL
        self._persist = False
        fields = field_lines(response.headers.lines)
        upgrade = b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % request.upgrade
        return _status_line(101, response.reason) + fields + upgrade

    def _check_line(self, head: bytes) -> None:
        begin = len(head) - len(head.lstrip(b"\r\n"))
        end = head.find(b"\r\n", begin)
        if (len(head) if end < 0 else end) - begin <= self._limits.max_target + _LINE_ROOM:
            return
        if b" " in head[begin : begin + _LINE_ROOM]:
            raise Refused(414, "The request target is too long.", "RFC 9110 15.5.15")
        try:
            # It is the method (RFC 9112 3: 501), or none at all: a parser knows it by its first octets.
            HttpRequestParser(None).feed_data(head[begin : begin + _LINE_ROOM])
        except HttpParserError as error:
            raise self._refused_by_parser(str(error), head) from None

    def _blank(self, head: bytes) -> None:
        if head.lstrip(b"\r\n").startswith(b"PRI "):
            raise unsupported_version()
        if head.strip(b"\r\n"):
            raise Refused(400, "The head is not one of HTTP.", "RFC 9112 2")
        self._check_blank(head)
        self._blanks += len(head)

    def _check_blank(self, head: bytes) -> None:
        if self._blanks + len(head) - len(head.lstrip(b"\r\n")) > _MOST_BLANK:
            raise Refused(400, "There are too many empty lines before a request.", "RFC 9112 2.2")

    def _ordinary(self, line: bytes) -> bool:
        return line.startswith(_ORDINARY)

    def _on_head(self, line: bytes) -> None:
        longest = self._limits.max_target
        request = read_request(line, self._lines, self._special, self._forwarded, longest, self._scheme)
        if self._doubt is not None:
            raise self._doubt
        self._request = request
        self._blanks = 0
        events = self._events
        events.append(request)
        length = request.length
        if length == 0:
            events.append(END)
            self._state = DONE
            self._parser = None
            self._forget_unwanted()
        else:
            self._expect_body(length, length is None)

    def _on_end(self) -> None:
        request = self._request
        end = self._events[-1]
        if request is not None:
            request.trailers = getattr(end, "trailers", None)
        self._forget_unwanted()

    def _forget_unwanted(self) -> None:
        """RFC 9112 9.6: no request is read after one that ends the connection."""
        if self._at < len(self._data) and not self._may_follow():
            self._forget_data()


def _status_line(status: int, reason: bytes) -> bytes:
    if not reason:
        return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    if has_control(reason):
        raise LocalProtocolError("control character in a reason phrase")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)

