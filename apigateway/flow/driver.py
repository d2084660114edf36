"""What the machine asks of the world: the narrow interfaces between the pipeline and its connections.

The machine calls down through these; whoever implements them calls the machine's event methods. Tests record them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from apigateway.flow.faults import FaultKind
from apigateway.ports.interfaces import IRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Request, Response

if TYPE_CHECKING:
    from apigateway.flow.answering import Answering
    from apigateway.flow.attempting import Attempting
    from apigateway.flow.exchange import Exchange
    from apigateway.flow.live import LiveRevision
    from apigateway.flow.mirror import MirrorCopy
    from apigateway.flow.target_state import HealthChange, TargetState
    from apigateway.flow.upstream import CompiledUpstream


class ClientSide(Protocol):
    """The connection (or stream) that a request came by."""

    def send_interim(self, interim: Interim) -> None:
        """Pass a 1xx on, where the client's version knows it."""

    def send_head(self, response: Response, more: bool = False) -> None:
        """The final head; framing and persistence are the writer's business. more: data or the end follows before
        anything else happens, so that it may wait to be written with it."""

    def send_data(self, chunk: bytes) -> None:
        """A piece of the body."""

    def send_end(self, trailers: Headers | None) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """Cut the client off: the response that began cannot be finished, and must not look finished."""

    def pause_request(self) -> None:
        """Read no more of the request body for now."""

    def resume_request(self) -> None:
        """Go on reading the request body."""

    def join(self, attempt: Attempt, machine: Answering) -> None:
        """After a 101 was passed on: tie both connections together; `machine.tunnel_ended` tells the end."""

    def done(self, machine: Answering) -> None:
        """The exchange is over; called once, last."""


class Attempt(Protocol):
    """One try at an upstream: a connection carrying this exchange, or one being opened."""

    reused: bool

    def send_head(
        self, request: Request, target: bytes, host: bytes, extra: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """The request head; `host` for Host, `extra` lines after the request's own."""

    def send_data(self, chunk: bytes) -> None:
        """A piece of the request body."""

    def send_end(self, trailers: Headers | None) -> None:
        """The request is complete."""

    def cancel(self) -> None:
        """Give it up: nothing more is told of it, and the connection is not used again."""

    def pause_response(self) -> None:
        """Read no more of the response for now."""

    def resume_response(self) -> None:
        """Go on reading the response."""


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """Why an attempt failed before its response was complete.

    reason: as in `retry_on` ("connect-failure", "reset-before-response", "timeout"), or "" for what is never tried
    again.
    sent: octets of the request may have been taken. stale: a kept connection ended before it told anything.
    """

    kind: FaultKind
    reason: str
    sent: bool
    text: str
    stale: bool = False


class Driver(Protocol):
    """The machine's hands; one for a worker."""

    now: Callable[[], float]
    random: IRandom

    def open_upstream(
        self, machine: Attempting, upstream: CompiledUpstream, target: TargetState, fresh: bool
    ) -> Attempt | None:
        """A kept connection, ready now; or None, with `machine.opening` set to what cancels it, and
        `machine.upstream_opened` or `upstream_failed` follows (never before this returns). fresh: do not take a kept
        one. `machine.deadline` ends the wait for a response head."""

    def call_later(self, seconds: float, callable: Callable[[], Any]) -> Any:
        """An ICancellable."""

    def time_out(self, seconds: float, callable: Callable[[], Any]) -> Any:
        """As call_later; for what is nearly always called off, after a time that settings name."""

    def date(self) -> bytes:
        """Now, as a Date field says it."""

    def event(self, level: str, message: str, **fields: Any) -> None:
        """To the error log."""

    def attempted(self, upstream: str, target: str, result: str) -> None:
        """An attempt ended: "ok", a retry reason, or "cancelled"."""

    def health_changed(self, change: HealthChange) -> None:
        """A target was put aside or came back by what traffic said."""

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over: metrics and access log."""

    def mirror(self, copy: MirrorCopy, revision: LiveRevision) -> None:
        """Send a copy of a request to a mirror, after what is being done now. Never raises, and never calls back."""
