"""A connection to a target over HTTP/1: carries one exchange at a time, and is kept for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from apigateway.dataplane.deadline import Deadline
from apigateway.flow import faults
from apigateway.flow.driver import AttemptFailure
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import ITimers
from apigateway.wire.errors import LocalProtocolError
from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.limits import Limits
from apigateway.wire.message import Interim, MessageEnd, Refusal, Request, Response

if TYPE_CHECKING:
    from apigateway.flow.attempting import Attempting

# A target that does not take the rest of what was written is not waited for any longer.
FLUSH_SECONDS: Final = 5.0
UPSTREAM_LIMITS: Final = Limits(max_head=64 * 1024, max_fields=200, max_field=32 * 1024)


class Keeper(Protocol):
    """Who owns the connection between exchanges (a TargetPool)."""

    def keep(self, connection: UpstreamConnection) -> bool:
        """Take it back for another exchange; False: it is not wanted."""

    def lost(self, connection: UpstreamConnection) -> None:
        """It is closed."""


class UpstreamConnection:
    """An Attempt while it carries an exchange. It is a producer to its own transport: paused while the target does not
    read. address: (IP, port) it goes to. outdated: the target's name leads elsewhere by now. idle_until: monotonic
    seconds; it is not used again from then on."""

    def __init__(self, keeper: Keeper, address: tuple[str, int], timers: ITimers, now: Callable[[], float]) -> None:
        self.transport: Any = None
        self._keeper = keeper
        self.address = address
        self._wire = Http1Client(UPSTREAM_LIMITS)
        self._timers = timers
        self._now = now
        self._machine: Attempting | None = None
        self._response_timeout = self._idle_timeout = 0.0
        self._latest = 0.0
        self._head_seen = self._any_seen = self._sent_all = False
        self._full = False  # the target does not take what was written
        self._held_back = False  # the client does not take the response
        self._tunnel: Any = None
        self.reused = False
        self.closed = False
        self.outdated = False
        self.idle_until = 0.0

    @property
    def keep_alive_timeout(self) -> float | None:
        """Seconds the target said it keeps an idle connection (Keep-Alive: timeout=N)."""
        return self._wire.keep_alive_timeout

    def carry(self, machine: Attempting, upstream: CompiledUpstream) -> None:
        """Begin with an exchange; the machine's deadline ends the wait for a head."""
        self._machine = machine
        self._response_timeout = upstream.response_timeout
        self._idle_timeout = upstream.idle_timeout
        self._latest = machine.deadline
        self._head_seen = self._any_seen = self._sent_all = self._held_back = False

    # ---- told by the transport

    def makeConnection(self, transport: Any) -> None:
        """The connection stands."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        # Only now: who never came to be connected would not let go of it.
        self._deadline = Deadline(self._timers, self._now, self._expired)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
            return
        self._any_seen = True
        events = self._wire.feed(data)
        for event in events:
            machine = self._machine
            if machine is None:
                break
            kind = event.__class__
            if kind is bytes:
                machine.response_data(event)  # type: ignore[arg-type]
            elif kind is Response:
                self._head_seen = True
                machine.response_head(event, event is not events[-1])  # type: ignore[arg-type]
            elif kind is MessageEnd:
                self._complete(machine, event)  # type: ignore[arg-type]
                return
            elif kind is Interim:
                machine.interim(event)  # type: ignore[arg-type]
            else:
                self._refused(event)  # type: ignore[arg-type]
                return
        self._read_through()

    def _read_through(self) -> None:
        """All that a read brought was told."""
        if self._machine is not None:
            if self._head_seen and not self._held_back:
                self._deadline.at(self._now() + self._idle_timeout)
        elif self._tunnel is None:
            self.transport.abortConnection()  # octets that nobody asked for (RFC 9112 9.2)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._deadline.stop()
        self._keeper.lost(self)
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.upstream_lost()
        if self._machine is not None:
            self._lost_by(self._machine, reason)
        self._wire.close()

    def _lost_by(self, machine: Attempting, reason: Failure) -> None:
        for event in self._wire.eof():
            # A body that the close ends is complete only where it was a close: a reset may have cut it anywhere, and so
            # may the loss of a TLS connection that was not closed by TLS (RFC 9112 8, 9.8).
            if isinstance(event, MessageEnd) and reason.check(ConnectionDone):
                self._complete(machine, event)
                return
        if self._head_seen:
            self._fail(AttemptFailure(faults.INCOMPLETE_RESPONSE, "", True, "closed inside the response"))
        else:
            text = "closed without an answer" if not self._any_seen else "closed inside the response head"
            stale = self.reused and not self._any_seen
            self._fail(AttemptFailure(faults.UPSTREAM_RESET, "reset-before-response", True, text, stale))

    def pauseProducing(self) -> None:
        """The target does not read."""
        self._full = True
        if self._tunnel is not None:
            self._tunnel.upstream_full()
        elif self._machine is not None:
            self._machine.upload_paused()

    def resumeProducing(self) -> None:
        """The target reads again."""
        self._full = False
        if self._tunnel is not None:
            self._tunnel.upstream_ready()
        elif self._machine is not None:
            self._machine.upload_resumed()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost tells."""

    # ---- Attempt

    def send_head(
        self, request: Request, target: bytes, host: bytes, extra: Sequence[tuple[bytes, bytes]]
    ) -> None:
        try:
            head = self._wire.send_head(request, target=target, host=host, extra=extra)
        except LocalProtocolError as error:
            self._defect(error)
            return
        self.transport.write(head)
        self._wait_for_head()

    def send_data(self, chunk: bytes) -> None:
        try:
            framed = self._wire.send_data(chunk)
        except LocalProtocolError as error:
            self._defect(error)
            return
        self.transport.write(framed)
        if not self._head_seen:
            self._wait_for_head()

    def send_end(self, trailers: Headers | None) -> None:
        try:
            end = self._wire.send_end(trailers)
        except LocalProtocolError as error:
            self._defect(error)
            return
        self._sent_all = True
        if end:
            self.transport.write(end)
            if not self._head_seen:
                self._wait_for_head()

    def cancel(self) -> None:
        self._machine = None
        self._deadline.off()
        self.transport.abortConnection()

    def pause_response(self) -> None:
        self._held_back = True
        self._deadline.off()
        self.transport.pauseProducing()

    def resume_response(self) -> None:
        self._held_back = False
        self.transport.resumeProducing()
        if self._head_seen:
            self._deadline.at(self._now() + self._idle_timeout)
        else:
            self._wait_for_head()

    def join(self, tunnel: Any) -> bytes:
        """Become one end of a tunnel; returns the octets that came behind the 101."""
        self._tunnel = tunnel
        self._machine = None
        self._deadline.off()
        return self._wire.take_rest()

    # ---- inside

    def _wait_for_head(self) -> None:
        self._deadline.at(min(self._now() + self._response_timeout, self._latest))

    def _complete(self, machine: Attempting, end: MessageEnd) -> None:
        self._machine = None
        self._deadline.off()
        if self._held_back:
            # The last octets came in the read that filled the client's buffer: the next exchange is to be heard.
            self._held_back = False
            self.transport.resumeProducing()
        if self.closed:
            pass
        elif not self._sent_all or self._full:
            self.transport.abortConnection()  # it has answered and will not read the rest
        elif not (self._wire.reusable and self._keeper.keep(self)):
            self.close()
        machine.response_end(end.trailers)

    def _refused(self, refusal: Refusal) -> None:
        kind = faults.INCOMPLETE_RESPONSE if "incomplete" in refusal.detail else faults.BAD_RESPONSE
        self.transport.abortConnection()
        self._fail(AttemptFailure(kind, "", True, f"{refusal.detail} ({refusal.section})"))

    def _expired(self) -> None:
        if self._machine is None:
            if self.transport.disconnecting:
                self.transport.abortConnection()
            else:
                self.close()  # it was idle long enough
            return
        clients_turn = not (self._head_seen or self._sent_all or self._full)
        if clients_turn and self._now() < self._latest:
            self._deadline.at(self._latest)  # it is the client who is slow, and has a time of its own
            return
        if clients_turn:
            # Nor does it say anything of the target: with a few slow uploads anybody could have it put aside.
            self.transport.abortConnection()
            text = "the request was not complete when all the time for an answer was over"
            self._fail(AttemptFailure(faults.REQUEST_TIMEOUT, "", True, text))
            return
        what = "between two reads of the response" if self._head_seen else "for a response head"
        self.transport.abortConnection()
        reason = "" if self._head_seen else "timeout"
        self._fail(AttemptFailure(faults.RESPONSE_TIMEOUT, reason, True, f"the time {what} is over"))

    def _defect(self, error: LocalProtocolError) -> None:
        self.transport.abortConnection()
        self._fail(AttemptFailure(faults.INTERNAL, "", True, f"request could not be framed: {error}"))

    def _fail(self, failure: AttemptFailure) -> None:
        machine, self._machine = self._machine, None
        self._deadline.off()
        if machine is not None:
            machine.upstream_failed(failure)

    def close(self) -> None:
        """Flush and close, between exchanges; a target that does not take the rest is cut off after a while."""
        if not self.closed and self._tunnel is None:  # a tunnel has a time of its own
            self._deadline.at(self._now() + FLUSH_SECONDS)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def rest_until(self, when: float) -> None:
        """It is idle, and closes itself at this time."""
        self.idle_until = when
        self._deadline.at(when)


# Said from outside: a class that is compiled (setup.py) has neither foreign bases nor decorators.
classImplements(UpstreamConnection, IProtocol, IPushProducer)
