"""A client's connection over HTTP/1: reads requests, runs one exchange after the other, writes their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from apigateway.dataplane.deadline import Deadline
from apigateway.dataplane.tunnel import Tunnel, tunnel_of
from apigateway.flow.driver import Attempt
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.machine import Machine
from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.headers import Headers
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.message import Event, Interim, MessageEnd, Refusal, Request, Response

if TYPE_CHECKING:
    from apigateway.dataplane.listener import Listener

# What the connection waits for; each has its own time.
IDLE: Final = 0  # for a request to begin
HEAD: Final = 1  # for a head that has begun to be complete
BODY: Final = 2  # for more of a request body
UPSTREAM: Final = 3  # for others: no time of ours runs
READER: Final = 4  # for the client to read what is written
LINGER: Final = 5  # for a client that still sends a body nobody wants, before the close
TUNNEL: Final = 6  # for nothing: HTTP is over
CLOSING: Final = 7  # for the client to take the rest of what was written

# After an early answer the rest of the body is read and dropped, so that the close does not reset the connection
# before the client has read the answer (RFC 9112 9.6); up to so many octets and seconds.
LINGER_OCTETS: Final = 1024 * 1024
LINGER_SECONDS: Final = 2.0

# Who does not read does not see the client leave; so while reading is paused for an exchange, it is looked for.
LOOK_EVERY: Final = 0.5


class Downstream:
    """The ClientSide of its exchanges. It is a producer to its own transport: paused while the client does not read."""

    def __init__(self, listener: Listener) -> None:
        self.transport: Any = None
        self._listener = listener
        self._now = listener.now
        self._wire = Http1Server(listener.limits, listener.scheme)
        self._deadline = Deadline(listener.timers, listener.now, self._expired)
        self._machine: Machine | None = None
        self._tunnel: Tunnel | None = None
        self._connection = Connection()
        self._phase = IDLE
        self._request_done = self._answered = self._pumping = self._closed = False
        self._body_paused = self._reading_paused = self._writer_paused = False
        self._head = b""  # a head that waits for what follows at once, so that both are written as one
        self._dropped = 0
        self.exchanges = 0

    # ---- told by the transport

    def makeConnection(self, transport: Any) -> None:
        """The connection stands."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        self._connection = self._listener.describe(self.transport)
        self.transport.registerProducer(self, True)
        self._listener.opened(self)
        self._phase = HEAD  # a connection that never says anything gets the time of a head
        self._deadline.at(self._now() + self._listener.header_timeout)

    def dataReceived(self, data: bytes) -> None:
        if self._phase < LINGER:
            self._pump(self._wire.feed(data))
        elif self._tunnel is not None:
            self._tunnel.from_client(data)
        else:
            self._drop(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._deadline.stop()
        if self._tunnel is not None:
            self._tunnel.client_lost()
        elif self._machine is not None:
            self._machine.client_gone()
        if self._machine is None:
            self._lost()

    def _lost(self) -> None:
        """Connection and exchange are over. Nothing here holds itself any more: it goes without the collector."""
        self._tunnel = None
        self._wire.close()
        self._listener.lost(self)

    def pauseProducing(self) -> None:
        """The client does not read: what is written would pile up."""
        self._writer_paused = True
        if self._tunnel is not None:
            self._tunnel.client_full()
        elif self._phase < LINGER:
            if self._machine is not None:
                self._machine.download_paused()
            self._phase = READER
            self._deadline.at(self._now() + self._listener.body_timeout)

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._writer_paused = False
        if self._tunnel is not None:
            self._tunnel.client_ready()
        elif self._phase < LINGER:
            if self._machine is not None:
                self._machine.download_resumed()
            if not self._pumping:
                self._pump(())

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost tells."""

    # ---- requests

    def _pump(self, events: Sequence[Event]) -> None:
        """Work through events, and through the requests behind them, without recursion."""
        self._pumping = True
        wire = self._wire
        while True:
            if events and events[-1].__class__ is MessageEnd:
                self._request_done = True
            for event in events:
                if event.__class__ is Request:
                    self._begin(event)
                else:
                    self._take(event)
            if self._machine is not None or not self._answered or self._closed:
                break
            if not wire.reusable:
                self._pumping = False
                self._end()
                return
            if self._writer_paused:
                break  # answers to what is in the pipe would pile up
            self._answered = self._request_done = False
            events = wire.next_request()
            if not events:
                break
        self._pumping = False
        self._settle()

    def _take(self, event: Event) -> None:
        kind = event.__class__
        machine = self._machine
        if kind is Refusal:
            self._refused(event)  # type: ignore[arg-type]
        elif machine is None or machine.upload is None:
            return  # the end of a request without a body, or a body that nobody reads any more
        elif kind is bytes:
            machine.request_data(event)  # type: ignore[arg-type]
        else:
            machine.request_end(event.trailers)  # type: ignore[union-attr]

    def _begin(self, request: Request) -> None:
        listener, connection = self._listener, self._connection
        driver = listener.driver
        client = connection.peer
        if request.forwarded is not None and connection.trusted:
            client = listener.look_through(connection, request)
        self.exchanges += 1
        exchange = Exchange(driver.next_id(), request, connection, client, self._now())
        self._machine = machine = Machine(driver, self, exchange, driver.revision)
        machine.begin()

    def _refused(self, refusal: Refusal) -> None:
        machine = self._machine
        if machine is None:
            if self._answered:
                return
            # No head that could be read: an exchange all the same, so that it is answered, logged and counted.
            request = Request(b"-", b"", Headers(), scheme=self._connection.scheme, persistent=False)
            driver = self._listener.driver
            self.exchanges += 1
            exchange = Exchange(driver.next_id(), request, self._connection, self._connection.peer, self._now())
            machine = self._machine = Machine(driver, self, exchange, driver.revision)
        machine.refused(refusal)

    # ---- ClientSide

    def send_interim(self, interim: Interim) -> None:
        self.transport.write(self._wire.send_interim(interim))

    def send_head(self, response: Response, more: bool = False) -> None:
        close = self._listener.draining or (not self._request_done and not response.upgrade)
        head = self._wire.send_head(response, close=close)
        if more:
            self._head = head
        else:
            self.transport.write(head)

    def send_data(self, chunk: bytes) -> None:
        try:
            framed = self._wire.send_data(chunk)
        except LocalProtocolError:
            self.abort()
            return
        if self._head:
            framed, self._head = self._head + framed, b""
        self.transport.write(framed)

    def send_end(self, trailers: Headers | None) -> None:
        try:
            end = self._wire.send_end(trailers)
        except LocalProtocolError:
            self.abort()
            return
        if self._head:
            end, self._head = self._head + end, b""
        if end:
            self.transport.write(end)

    def abort(self) -> None:
        if self._tunnel is not None:
            self._tunnel.abort()
        else:
            self.transport.abortConnection()

    def end(self) -> None:
        """The time of the drain is over: a tunnel is ended as its protocol wants it, all else is cut off."""
        if self._tunnel is not None:
            self._tunnel.end()
        else:
            self.transport.abortConnection()

    def pause_request(self) -> None:
        if not self._body_paused:
            self._body_paused = True
            self._read_or_not()
            if not self._pumping:
                self._settle()

    def resume_request(self) -> None:
        if self._body_paused:
            self._body_paused = False
            self._read_or_not()
            if not self._pumping:
                self._settle()

    def join(self, attempt: Attempt, machine: Any) -> None:
        self._phase = TUNNEL
        self._deadline.off()
        self._tunnel = tunnel = tunnel_of(self.transport, attempt, machine, self._listener.timers, self._now)
        if self._reading_paused:
            self._body_paused = False
            self.transport.resumeProducing()
        tunnel.begin(self._wire.take_rest())

    def done(self, machine: Any) -> None:
        self._machine = None
        self._answered = True
        if self._body_paused:
            self._body_paused = False
            self._read_or_not()
        if self._tunnel is not None:
            if self._closed:
                self._lost()
        elif not self._pumping and not self._closed:
            self._pump(())

    # ---- time and reading

    def _settle(self) -> None:
        """Set what is waited for now, its time, and whether the transport reads."""
        wire = self._wire
        if self._writer_paused:
            self._read_or_not()
            return
        if self._machine is not None:
            if self._body_paused or wire.waiting:
                self._phase = UPSTREAM
                self._deadline.at(self._now() + LOOK_EVERY)
            elif self._request_done:
                self._phase = UPSTREAM
                self._deadline.off()
            else:
                self._phase = BODY
                self._deadline.at(self._now() + self._listener.body_timeout)
        elif wire.in_head:
            if self._phase != HEAD:
                self._phase = HEAD
                self._deadline.at(self._now() + self._listener.header_timeout)
        elif self.exchanges:
            if self._listener.draining:
                self._close()
                return
            self._phase = IDLE
            self._deadline.at(self._now() + self._listener.idle_timeout)
        if wire.waiting or self._reading_paused or self._body_paused:
            self._read_or_not()

    def _read_or_not(self) -> None:
        busy = self._machine is not None or self._writer_paused
        wanted = not self._body_paused and not (busy and self._wire.waiting)
        if wanted == self._reading_paused:
            self._reading_paused = not wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _expired(self) -> None:
        phase, machine = self._phase, self._machine
        if phase == HEAD and self._wire.in_head:
            self._refused(Refusal(408, "The request head did not come in time.", "RFC 9110 15.5.9"))
        elif phase == BODY and machine is not None:
            machine.late()
        elif phase == UPSTREAM:
            self._look()
        elif phase in (READER, CLOSING):
            self.transport.abortConnection()
        else:
            self._close()

    def _look(self) -> None:
        if self.transport.peer_ended():
            self.transport.abortConnection()
        else:
            self._deadline.at(self._now() + LOOK_EVERY)

    # ---- the end

    def _close(self) -> None:
        """Flush and close; a client that does not read the rest is cut off after a while."""
        self._phase = CLOSING
        self._deadline.at(self._now() + self._listener.body_timeout)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def close_if_idle(self) -> None:
        """The listener drains: a connection that carries nothing closes now, the others after their answer."""
        if self._machine is None and self._phase < LINGER and not self._wire.in_head:
            self._close()

    def _end(self) -> None:
        """The connection does not go on. A request that was not read to its end is read a little longer."""
        if self._request_done:
            self._close()
            return
        self._phase = LINGER
        self._deadline.at(self._now() + LINGER_SECONDS)
        self.transport.loseWriteConnection()
        self._body_paused = False
        self._read_or_not()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_OCTETS:
            self.transport.abortConnection()


# Said from outside: a class that is compiled (setup.py) has neither foreign bases nor decorators.
classImplements(Downstream, IProtocol, IPushProducer)
