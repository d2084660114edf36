"""The client's side of an HTTP/1 connection to an upstream, without I/O (RFC 9112)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from httptools import HttpResponseParser

from apigateway.wire.errors import LocalProtocolError, Refused
from apigateway.wire.fields import RESPONSE_FIELDS
from apigateway.wire.framing import COMMON_METHODS, is_target, is_token, valid_host
from apigateway.wire.headers import Headers
from apigateway.wire.http1_reader import FAILED, HEAD, TUNNEL, UNTIL_CLOSE, Http1Reader
from apigateway.wire.http1_writer import CHUNKED, SIZED, BodyWriter, field_lines
from apigateway.wire.limits import Limits
from apigateway.wire.message import END, Event, Interim, Refusal, Request, Response
from apigateway.wire.response_head import ResponseHead

# Methods that mean to send a body: they say so when it is empty (RFC 9110 8.6).
_WITH_BODY: Final = frozenset((b"POST", b"PUT", b"PATCH"))
# Interim responses to one request (RFC 9110 15.2 sets no bound): past these, an upstream is only keeping us awake.
_MOST_INTERIMS: Final = 100


class Http1Client(Http1Reader):
    """One connection to an upstream; one request at a time.

    send_head, send_data, send_end write a request; `feed` gives Interim, Response, bytes and MessageEnd,
    or a Refusal(502). The response may come before the request is complete. When both are and the
    connection is `reusable`, the next send_head may follow.
    """

    PARSER = HttpResponseParser
    CHUNKED_HEAD = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"

    __slots__ = ("_busy", "_interims", "_persist", "_request", "_response", "_sending", "keep_alive_timeout")

    keep_alive_timeout: float | None
    """Seconds the upstream said it keeps an idle connection, by its last response; None: it did not say."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, RESPONSE_FIELDS)
        self._request: Request | None = None
        self._response: Response | None = None
        self._sending = BodyWriter()
        self._busy = False
        self._interims = 0
        self._persist = True
        self.keep_alive_timeout = None

    # ---- writing

    def send_head(
        self,
        request: Request,
        *,
        target: bytes,
        host: bytes,
        extra: Sequence[tuple[bytes, bytes]] = (),
    ) -> bytes:
        """A request's head: its method, `target` and Host `host`, its fields and `extra` ones.

        Raises LocalProtocolError while another request is under way, on a connection that is not
        reusable, and for a method, target or host that would break the line.
        """
        if self._busy or not self._persist or self._state == FAILED:
            raise LocalProtocolError("the connection is not free for a request")
        method = request.method
        known = method in COMMON_METHODS or is_token(method)
        if not known or not is_target(target) or (host and not valid_host(host)):
            raise LocalProtocolError("not a method, target or host that can be written")
        if self._state != HEAD:
            self._begin_message()
        self._busy = True
        self._interims = 0
        self._request = request
        framing = b""
        if request.length == 0 and method not in _WITH_BODY:
            self._sending.begin(SIZED, 0)
        else:
            framing = self._frame(request)
        if request.upgrade or request.trailers_welcome or request.expect_continue:
            framing += _options(request)
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b%b\r\n" % (
            method, target, host, field_lines(request.headers.lines), field_lines(extra) if extra else b"", framing,
        )

    def send_data(self, chunk: bytes) -> bytes:
        """A piece of the body, framed. LocalProtocolError for more octets than announced."""
        if self._request is None:
            raise LocalProtocolError("body octets before a head")
        return self._sending.data(chunk)

    def send_end(self, trailers: Headers | None = None) -> bytes:
        """The end of the request; trailers go out with a chunked body.

        LocalProtocolError if octets are missing.
        """
        if self._request is None:
            raise LocalProtocolError("the end of a message before its head")
        return self._sending.end(trailers)

    # ---- reading

    def feed(self, data: bytes) -> list[Event]:
        """Octets from the upstream. Refusal(502) for octets that no request asked for (RFC 9112 9.2)."""
        if self._state == FAILED or not data:
            return []
        if self._state == TUNNEL:
            return self._take(data)
        if not self._busy:
            self._persist = False
            self._events = []
            self._fail(Refusal(502, "The upstream sent octets without a request.", "RFC 9112 9.2"))
            return self._events
        return self._take(data)

    def eof(self) -> list[Event]:
        """The upstream closed: the end of a body that the close ends, else Refusal(502) inside a response."""
        self._persist = False
        if self._state == TUNNEL or self._state == FAILED or not self._busy:
            return []
        self._events = []
        if self._state == UNTIL_CLOSE:
            self._end(END)
        else:
            self._fail(Refusal(502, "The upstream's response is incomplete.", "RFC 9112 8"))
        return self._events

    def take_rest(self) -> bytes:
        """After a 101: the octets behind it, which are the new protocol's."""
        return self._rest() if self._state == TUNNEL else b""

    @property
    def reusable(self) -> bool:
        """No request is under way and another may be sent."""
        return self._persist and not self._busy and self._sending.ended and self._state != FAILED

    # ---- inside

    def _frame(self, request: Request) -> bytes:
        """The framing field of a request with a body, or of one that says it has none; begins the body."""
        length = request.length
        if length is None:
            self._sending.begin(CHUNKED)
            return b"transfer-encoding: chunked\r\n"
        self._sending.begin(SIZED, length)
        return b"content-length: %d\r\n" % length

    def _refusal(self, refusal: Refusal) -> Refusal:
        """Whatever is wrong with a response is the upstream's fault."""
        return Refusal(502, refusal.detail, refusal.section)

    def _ordinary(self, line: bytes) -> bool:
        return line.startswith(b"HTTP/1.1 ")

    def _on_head(self, line: bytes) -> None:
        request = self._request
        assert request is not None
        read = ResponseHead(line, self._lines, self._special, request.method, request.upgrade)
        if self._doubt is not None:
            raise self._doubt
        message = read.message
        if isinstance(message, Interim):
            self._interims += 1
            if self._interims > _MOST_INTERIMS:
                raise Refused(502, "The upstream sends interim responses without end.", "RFC 9110 15.2")
            self._events.append(message)
            self._begin_message()
            return
        self._events.append(message)
        self._response = message
        self.keep_alive_timeout = read.keep_alive_timeout
        self._persist = self._persist and read.persistent
        if message.status == 101:
            self._state = TUNNEL
            self._parser = None
            self._persist = False
        elif message.bodiless:
            self._expect_body(0, False)
        else:
            if message.length is None and not read.chunked:
                self._persist = False
            self._expect_body(message.length, read.chunked)

    def _on_end(self) -> None:
        self._busy = False
        if self._response is not None:
            self._response.trailers = getattr(self._events[-1], "trailers", None)
            self._response = None
        if self._at < len(self._data):
            # More than was asked for: it must never reach the next client (RFC 9112 9.2).
            self._persist = False
            self._forget_data()


def _options(request: Request) -> bytes:
    """The fields of this connection."""
    fields, options = b"", []
    if request.trailers_welcome:
        fields += b"te: trailers\r\n"
        options.append(b"te")  # RFC 9110 10.1.4: and named as one for this hop
    if request.upgrade:
        fields += b"upgrade: %b\r\n" % request.upgrade
        options.append(b"upgrade")
    if request.expect_continue:
        fields += b"expect: 100-continue\r\n"
    return fields + b"connection: %b\r\n" % b", ".join(options) if options else fields
