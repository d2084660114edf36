"""The same plans as a resource in any twisted.web site.

The slow path: twisted.web costs many times what a listener costs, reads each body whole before a resource sees the
request, says 100 by itself, and knows no trailers. For a program that has a site already and wants policies and
upstreams under some of its paths; traffic belongs on a listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as WebRequest
from zope.interface import implementer

from apigateway.dataplane.driver import WorkerDriver
from apigateway.flow.driver import Attempt
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.machine import Machine
from apigateway.wire.errors import LocalProtocolError, Refused
from apigateway.wire.fields import CODING, DROPPED, FORWARDED, LENGTH, PLAIN, REQUEST_FIELDS, WRITERS_OWN
from apigateway.wire.forwarding import client_address
from apigateway.wire.framing import is_token
from apigateway.wire.headers import Headers, checked
from apigateway.wire.http1_writer import NOTHING, SIZED, UNTIL_CLOSE, BodyWriter
from apigateway.wire.ipset import IpSet
from apigateway.wire.limits import DEFAULT_LIMITS
from apigateway.wire.message import Interim, Refusal, Request, Response
from apigateway.wire.request_head import read_request

# A body is passed on in pieces of so many octets, so that an upstream that does not read can stop it.
PIECE = 64 * 1024
# As a listener's default body_timeout: how long a client may not read before it is cut off.
READER_SECONDS = 60.0

_VERSIONS = {b"HTTP/1.0": "1.0", b"HTTP/2": "2"}


class GatewayResource(Resource):
    """Runs each request through the plans of the driver's revision, as a listener does.

    A leaf: it takes the whole target as the client sent it, whatever it is mounted under, so that base paths say what
    they say elsewhere. An upgrade is answered 501, `OPTIONS *` by the site itself. What may be sent is the site's to
    limit; give it `parsePOSTFormSubmission=False`, or it takes form bodies apart for nobody. Client certificates and
    SNI are not looked at.

    name: stands for the listener's in logs and metrics. trusted: peers whose forwarding fields are believed.
    drain: seconds that `close` waits for exchanges before it cuts them off.
    release: called by `close`, when the last exchange is over, to let go of what the driver stands on.
    """

    isLeaf = True

    def __init__(
        self, driver: WorkerDriver, *, name: str = "resource", trusted: IpSet | None = None,
        drain: float = 30.0, release: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.driver = driver
        self.name = name
        self.trusted = trusted or IpSet(())
        self._drain = drain
        self._release = release
        self._running: set[WebClient] = set()
        self._closing: Deferred[None] | None = None
        self._empty: Deferred[None] | None = None

    def render(self, request: WebRequest) -> int | bytes:
        """See IResource. After `close`: 503."""
        if self._closing is not None:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            return b""
        client = WebClient(self, request)
        self._running.add(client)
        client.begin()
        return NOT_DONE_YET

    def ended(self, client: WebClient) -> None:
        """An exchange is over."""
        self._running.discard(client)
        if self._empty is not None and not self._running:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def close(self) -> Deferred[None]:
        """Take no more requests. Fires when those that run are over, or were cut off, and everything is let go of;
        may be called again. Fails with what `release` failed with."""
        if self._closing is None:
            # Set first, so that a request that comes while this begins is not taken.
            self._closing = Deferred()
            Deferred.fromCoroutine(self._close()).chainDeferred(self._closing)
        waiting: Deferred[None] = Deferred()
        self._closing.addBoth(waiting.callback)
        return waiting

    async def _close(self) -> None:
        if self._running:
            empty: Deferred[None] = Deferred()
            self._empty = empty
            late = self.driver.call_later(self._drain, self._abort_all)
            await empty
            late.cancel()
        if self._release is not None:
            await self._release()

    def _abort_all(self) -> None:
        for client in list(self._running):
            client.cut_off()


@implementer(IPushProducer)
class WebClient:
    """The ClientSide of one exchange, over a twisted.web request.

    twisted.web frames; the BodyWriter here only sees to it that what was announced is kept. A producer to its request:
    paused while the client does not read.
    """

    def __init__(self, resource: GatewayResource, request: WebRequest) -> None:
        self._resource = resource
        self._driver = resource.driver
        self._request = request
        self._content = cast(BinaryIO, request.content)
        self._machine: Machine | None = None
        self._writer = BodyWriter()
        self._body_paused = self._body_over = self._feeding = self._writer_paused = False
        self._feed_timer: Any = None
        self._reader_timer: Any = None

    def begin(self) -> None:
        """Run the exchange; all that follows comes by events."""
        self._request.notifyFinish().addErrback(lambda _: self._client_lost())
        self._request.registerProducer(self, True)
        try:
            request, refusal = request_of(self._request), None
        except Refused as refused:
            request, refusal = unreadable(self._request), refused.refusal
        if request.upgrade:
            refusal = Refusal(501, "No upgrade is offered here.", "RFC 9110 7.8")
        self._machine = machine = self._new_machine(request)
        if refusal is not None:
            machine.refused(refusal)
            return
        self._feeding = True  # whoever resumes it before all request steps ran gets it after them
        machine.begin()
        self._feed()

    def _new_machine(self, request: Request) -> Machine:
        resource, driver = self._resource, self._driver
        connection = describe(self._request, resource.name, resource.trusted)
        client = client_address(connection.peer, request, resource.trusted)
        exchange = Exchange(driver.next_id(), request, connection, client, driver.now())
        return Machine(driver, self, exchange, driver.revision)

    def _feed_later(self) -> None:
        self._feed_timer = None
        self._feed()

    def _feed(self) -> None:
        """Pass the body on until somebody cannot take more, without recursion."""
        self._feeding = True
        while self._machine is not None and not self._body_paused and not self._body_over:
            piece = self._content.read(PIECE)
            if piece:
                self._machine.request_data(piece)
            else:
                self._body_over = True
                self._machine.request_end(None)
        self._feeding = False

    # ---- ClientSide

    def send_interim(self, interim: Interim) -> None:
        """twisted.web said 100 already, and has no way to say 103."""

    def send_head(self, response: Response, more: bool = False) -> None:
        web = self._request
        web.setResponseCode(response.status, response.reason or None)
        web.defaultContentType = None  # the site's guess is not ours
        length = self._frame(response)
        fields = web.responseHeaders
        fields.removeHeader(b"server")
        lines = [line for line in response.headers if line[0] not in WRITERS_OWN]
        for name in {name for name, _ in lines}:
            fields.removeHeader(name)
        for name, value in lines:
            fields.addRawHeader(name, value)
        if length is not None:
            fields.setRawHeaders(b"content-length", [b"%d" % length])
        if not more:
            web.write(b"")  # now, not with the first piece: it may be long in coming
        if self._writer_paused and self._machine is not None:
            self._machine.download_paused()  # there was no attempt yet that could have been

    def _frame(self, response: Response) -> int | None:
        """Choose the body's writer; the length to announce, or None (RFC 9110 8.6)."""
        status, length = response.status, response.length
        if response.bodiless or status in (204, 304) or self._request.method == b"HEAD":
            self._writer.begin(NOTHING)
            return None if status == 204 else length
        self._writer.begin(UNTIL_CLOSE if length is None else SIZED, length or 0)
        return length

    def send_data(self, chunk: bytes) -> None:
        try:
            self._request.write(self._writer.data(chunk))
        except LocalProtocolError:
            self.abort()

    def send_end(self, trailers: Headers | None) -> None:
        try:
            self._writer.end(None)
        except LocalProtocolError:
            self.abort()
            return
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        channel: Any = self._request.channel
        if channel is not None:
            # A stream of HTTP/2 has an abort of its own; a connection of HTTP/1 ends with its transport.
            (channel if hasattr(channel, "abortConnection") else channel.transport).abortConnection()

    def pause_request(self) -> None:
        self._body_paused = True

    def resume_request(self) -> None:
        self._body_paused = False
        if not self._feeding and not self._body_over and self._feed_timer is None:
            # Not from inside the machine's call: as from a connection, what comes of it comes later.
            self._feed_timer = self._driver.call_later(0, self._feed_later)

    def join(self, attempt: Attempt, machine: Any) -> None:
        """Never called: a request that asks for an upgrade goes to no upstream."""
        raise RuntimeError("a resource cannot be tunnelled through")

    def done(self, machine: Any) -> None:
        self._machine = None
        self._stop_reader_timer()
        if self._feed_timer is not None:
            self._feed_timer.cancel()
        self._resource.ended(self)

    # ---- the client's connection

    def _client_lost(self) -> None:
        if self._machine is not None:
            self._machine.client_gone()

    def cut_off(self) -> None:
        """End it at once."""
        self.abort()
        self._client_lost()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._writer_paused = True
        if self._machine is not None:
            self._machine.download_paused()
            self._stop_reader_timer()
            self._reader_timer = self._driver.call_later(READER_SECONDS, self._reader_late)

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._writer_paused = False
        self._stop_reader_timer()
        if self._machine is not None:
            self._machine.download_resumed()

    def stopProducing(self) -> None:
        """The connection is gone; notifyFinish tells."""

    def _reader_late(self) -> None:
        self._reader_timer = None
        self.cut_off()

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def request_of(web: WebRequest) -> Request:
    """The request as a listener would have read it. Refused (400, 414, 417, 501): what a listener refuses too."""
    lines, special, forwarded = _sorted_fields(web)
    if not is_token(web.method):
        raise Refused(400, "The method is not a token.", "RFC 9110 9.1")
    # By now the body is in web.content: how it was framed, and whether its client waited for a 100, is over.
    special.pop(LENGTH, None)
    special.pop(CODING, None)
    protocol = b"HTTP/1.0" if web.clientproto == b"HTTP/1.0" else b"HTTP/1.1"
    line = b" ".join((web.method, web.uri, protocol))
    scheme = "https" if web.isSecure() else "http"
    request = read_request(line, lines, special, forwarded, DEFAULT_LIMITS.max_target, scheme)
    request.version = _VERSIONS.get(web.clientproto, "1.1")
    request.length = _size(cast(BinaryIO, web.content))
    request.expect_continue = False
    return request


def _sorted_fields(
    web: WebRequest,
) -> tuple[list[tuple[bytes, bytes]], dict[int, bytes], list[tuple[bytes, bytes]] | None]:
    """(ordinary lines, the others by kind with repeated ones joined, forwarding lines or None)."""
    lines: list[tuple[bytes, bytes]] = []
    special: dict[int, bytes] = {}
    forwarded: list[tuple[bytes, bytes]] = []
    for sent, values in web.requestHeaders.getAllRawHeaders():
        name, kind = REQUEST_FIELDS.look_up(sent)
        for value in values:
            _insist(name, value)
        if kind == PLAIN:
            lines.extend((name, value) for value in values)
        elif kind == FORWARDED:
            forwarded.extend((name, value) for value in values)
        elif kind != DROPPED:
            special[kind] = b", ".join(values)
    return lines, special, forwarded or None


def _insist(name: bytes, value: bytes) -> None:
    try:
        checked(name, value)  # twisted.web lets control characters pass
    except ValueError as error:
        raise Refused(400, "A field holds a character that it may not.", "RFC 9110 5.5") from error


def _size(content: BinaryIO) -> int:
    size = content.seek(0, 2)
    content.seek(0)
    return size


def unreadable(web: WebRequest) -> Request:
    """What stands for a request that was refused, so that it is answered, logged and counted."""
    method = web.method if is_token(web.method) else b"-"
    return Request(method, b"", Headers(), scheme="https" if web.isSecure() else "http", persistent=False)


def describe(web: WebRequest, name: str, trusted: IpSet) -> Connection:
    """What an exchange may know of the connection that a request came by."""
    peer, host = web.getClientAddress(), web.getHost()
    ip = getattr(peer, "host", "")
    return Connection(
        listener=name, peer=ip, port=getattr(peer, "port", 0), trusted=bool(ip) and ip in trusted,
        local_port=getattr(host, "port", None), scheme="https" if web.isSecure() else "http",
    )
