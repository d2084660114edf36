"""Octets both ways after a 101: HTTP is over, the connections stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apigateway.dataplane.deadline import Deadline
from apigateway.ports.interfaces import ITimers


class Tunnel:
    """Ties a client's connection and an upstream's together.

    Each side is paused while the other does not read. When one closes, what it sent is flushed to the other, which is
    closed too; `machine.tunnel_ended` is called once when both are. A tunnel in which nothing passes for the upstream's
    idle timeout is closed; what is not taken for as long again is dropped.
    """

    def __init__(self, client: Any, upstream: Any, machine: Any, timers: ITimers, now: Callable[[], float]) -> None:
        self._client = client
        self._upstream = upstream
        self._machine = machine
        self._now = now
        self._idle = machine.upstream.idle_timeout
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
