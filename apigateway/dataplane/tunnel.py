"""Octets both ways after a 101: HTTP is over, the connections stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apigateway.dataplane.deadline import Deadline
from apigateway.ports.interfaces import ITimers
from apigateway.wire.websocket_frames import (
    GOING_AWAY,
    INTERNAL_ERROR,
    PROTOCOL_ERROR,
    FrameFollower,
    close_frame,
)

# Seconds for what a Close frame has to wait for: the border of a frame that it can be written at, and the answer to it.
GOODBYE: Final = 1.0


class Tunnel:
    """Ties a client's connection and an upstream's together, whatever passes.

    Each side is paused while the other does not read. When one closes, what it sent is flushed to the other, which is
    closed too; `machine.tunnel_ended` is called once when both are. A tunnel in which nothing passes for the upstream's
    idle timeout is closed; what is not taken for as long again is dropped.
    """

    def __init__(self, client: Any, upstream: Any, machine: Any, timers: ITimers, now: Callable[[], float]) -> None:
        self._client = client
        self._upstream = upstream
        self._machine = machine
        self._now = now
        self._idle: float = machine.upstream.idle_timeout
        self._deadline = Deadline(timers, now, self._expired)
        self._open = 2
        self._closing = False
        self.octets_in = self.octets_out = 0

    def begin(self, rest: bytes) -> None:
        """Start; `rest` is what the client sent behind its request."""
        behind = self._upstream.join(self)
        self._touch()
        if rest:
            self.from_client(rest)
        if behind:
            self.from_upstream(behind)

    def from_client(self, data: bytes) -> None:
        self.octets_in += len(data)
        self._touch()
        self._upstream.transport.write(data)

    def from_upstream(self, data: bytes) -> None:
        self.octets_out += len(data)
        self._touch()
        self._client.write(data)

    def client_full(self) -> None:
        self._upstream.transport.pauseProducing()

    def client_ready(self) -> None:
        self._upstream.transport.resumeProducing()

    def upstream_full(self) -> None:
        self._client.pauseProducing()

    def upstream_ready(self) -> None:
        self._client.resumeProducing()

    def client_lost(self) -> None:
        self._close_upstream()
        self._lost()

    def upstream_lost(self) -> None:
        self._close_client()
        self._lost()

    def end(self) -> None:
        """The gateway goes away: end it, as politely as its protocol can."""
        self.abort()

    def abort(self) -> None:
        """End it from here; what was not taken is dropped."""
        self._client.abortConnection()
        self._upstream.transport.abortConnection()

    def _expired(self) -> None:
        if self._closing:
            self.abort()
        else:
            self._close_client()
            self._close_upstream()

    def _close_upstream(self) -> None:
        self._closing = True
        self._touch()
        self._upstream.close()

    def _close_client(self) -> None:
        self._closing = True
        self._touch()
        self._client.unregisterProducer()
        self._client.loseConnection()

    def _touch(self) -> None:
        self._deadline.at(self._now() + self._idle)

    def _lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._deadline.stop()
            self._machine.tunnel_ended(self.octets_in, self.octets_out)


class WebSocketTunnel(Tunnel):
    """A tunnel that knows where frames end, so that it can say goodbye between two of them. Messages pass unseen.

    - `end`: both sides are sent Close 1001 at the next border of a frame, a second at most is waited for the border and
      for their own Close (which the other side was told already, so that it is not passed on), then they are closed.
    - A side that breaks the framing (FrameFollower.violation): the frame is not passed on. It is sent Close 1002, is
      not listened to any more and not written to (RFC 6455 7.1.7). The other side is closed too: an upstream with
      1002, a client with 1011, since it did nothing wrong.
    - An upstream that is gone without a Close: the client is sent 1011, or, inside of a frame, is only closed. A client
      that is gone: the upstream's connection is closed, as the client's was.
    - Between the endpoints' own Close frames nothing is done: they pass, and who gets the last one closes.
    """

    def __init__(self, client: Any, upstream: Any, machine: Any, timers: ITimers, now: Callable[[], float]) -> None:
        super().__init__(client, upstream, machine, timers, now)
        extended = machine.exchange.response.headers.get(b"sec-websocket-extensions") is not None
        self._sent_by_client = FrameFollower(True, extended)
        self._sent_by_upstream = FrameFollower(False, extended)
        # From now on no frame is begun on either side; a side that was told gets nothing more.
        self._ending = self._client_told = self._upstream_told = False
        self._client_code = self._upstream_code = 0

    def from_client(self, data: bytes) -> None:
        self.octets_in += len(data)
        if self._ending:
            self._last_from_client(data)
            return
        self._touch()
        frames = self._sent_by_client
        passed = frames.feed(data)
        if passed:
            self._upstream.transport.write(passed)
        if frames.violation:
            self._say_close(PROTOCOL_ERROR, PROTOCOL_ERROR)

    def from_upstream(self, data: bytes) -> None:
        self.octets_out += len(data)
        if self._ending:
            self._last_from_upstream(data)
            return
        self._touch()
        frames = self._sent_by_upstream
        passed = frames.feed(data)
        if passed:
            self._client.write(passed)
        if frames.violation:
            self._say_close(INTERNAL_ERROR, PROTOCOL_ERROR)

    def client_lost(self) -> None:
        if not self._upstream_told:
            self._close_upstream()
        self._lost()

    def upstream_lost(self) -> None:
        between = self._sent_by_upstream.left == 0
        if between and not (self._ending or self._closing):
            # The sending side only: octets that the client sends meanwhile would reset the connection, and with it what
            # the client has not read yet.
            self._ending = self._upstream_told = True
            self._client_code = INTERNAL_ERROR
            self._tell_client()
            self._client.loseWriteConnection()
            self._deadline.at(self._now() + GOODBYE)
            self._finish()
        elif not self._client_told:
            self._close_client()
        self._lost()

    def end(self) -> None:
        self._say_close(GOING_AWAY, GOING_AWAY)

    # ---- saying goodbye

    def _say_close(self, to_client: int, to_upstream: int) -> None:
        """Close both sides with these codes; harmless when they are being closed, but for the time they have left."""
        self._idle = GOODBYE
        self._touch()
        if self._ending or self._closing:
            return
        self._ending = True
        self._client_code, self._upstream_code = to_client, to_upstream
        if self._sent_by_upstream.left == 0:
            self._tell_client()
        if self._sent_by_client.left == 0:
            self._tell_upstream()
        self._finish()

    def _tell_client(self) -> None:
        """At a border of what the upstream sends: the client's last frame, unless a Close has been that."""
        self._client_told = True
        if not self._sent_by_upstream.closed:
            self._client.write(close_frame(self._client_code))
        if self._sent_by_client.violation:
            self._client.loseWriteConnection()

    def _tell_upstream(self) -> None:
        self._upstream_told = True
        if not self._sent_by_client.closed:
            key = self._machine.driver.random.token(4)
            self._upstream.transport.write(close_frame(self._upstream_code, key))
        if self._sent_by_upstream.violation:
            self._upstream.transport.loseWriteConnection()

    def _last_from_client(self, data: bytes) -> None:
        """The rest of a frame that was begun still passes; behind it only the client's Close is looked for."""
        frames = self._sent_by_client
        if not self._upstream_told:
            self._upstream.transport.write(data[: frames.left])
            if len(data) >= frames.left:
                self._tell_upstream()
        frames.feed(data)
        self._finish()

    def _last_from_upstream(self, data: bytes) -> None:
        frames = self._sent_by_upstream
        if not self._client_told:
            self._client.write(data[: frames.left])
            if len(data) >= frames.left:
                self._tell_client()
        frames.feed(data)
        self._finish()

    def _finish(self) -> None:
        """Close each side that has sent a Close and got one."""
        if self._client_told and _through(self._sent_by_client):
            self._client.unregisterProducer()
            self._client.loseConnection()
        if self._upstream_told and _through(self._sent_by_upstream):
            self._upstream.close()


def _through(frames: FrameFollower) -> bool:
    return frames.closed and frames.left == 0


def tunnel_of(client: Any, upstream: Any, machine: Any, timers: ITimers, now: Callable[[], float]) -> Tunnel:
    """The tunnel for what the 101 switched to: of other protocols than WebSocket nothing is known."""
    if machine.exchange.response.upgrade == b"websocket":
        return WebSocketTunnel(client, upstream, machine, timers, now)
    return Tunnel(client, upstream, machine, timers, now)
