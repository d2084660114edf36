"""Mirrors: targets that get copies of an upstream's requests, whose answers nobody sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from apigateway.config.model import Mirror as MirrorSettings
from apigateway.flow.balance_methods import in_turn
from apigateway.flow.even_share import EvenShare, millionths
from apigateway.flow.exchange import Exchange
from apigateway.flow.target_state import TargetState
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

if TYPE_CHECKING:
    from apigateway.flow.upload import Upload
    from apigateway.flow.upstream import CompiledUpstream

# What a copy says it is, so that a service can leave out what must not happen twice. There is no such field in any
# standard; Envoy's way, another Host, would lead to another virtual host.
MARK: Final = (b"x-mirrored", b"1")
MARKS: Final = frozenset((b"x-mirrored",))


class MirrorState:
    """What became of the copies of an upstream's requests; it outlives reloads. running: copies on their way.

    sent, too_large (the body is larger than the buffer), busy (as many on their way as may be), unusable (no mirror can
    be chosen).
    """

    __slots__ = ("busy", "running", "sent", "share", "too_large", "unusable")

    def __init__(self) -> None:
        self.share = EvenShare()
        self.running = self.sent = self.too_large = self.busy = self.unusable = 0

    def shown(self) -> dict[str, int]:
        """What became of copies, by a word for it."""
        return {"sent": self.sent, "too-large": self.too_large, "busy": self.busy, "unusable": self.unusable}


class MirrorCopy:
    """A request to be sent to a mirror. exchange: its own, which has id and connection of the one that it is a copy of,
    and keeps nothing else of that; upstream: the mirrors' own view of it. extra: lines behind the request's own.
    timeout: seconds to the end of the answer."""

    # No dataclass: compiled, it would ask for the class of `upstream`, which comes to be after this one.
    __slots__ = ("body", "exchange", "extra", "state", "target", "timeout", "trailers", "upstream")

    def __init__(
        self, exchange: Exchange, body: Sequence[bytes], trailers: Headers | None,
        extra: Sequence[tuple[bytes, bytes]], upstream: CompiledUpstream, target: TargetState, state: MirrorState,
        timeout: float,
    ) -> None:
        self.exchange = exchange
        self.body = body
        self.trailers = trailers
        self.extra = extra
        self.upstream = upstream
        self.target = target
        self.state = state
        self.timeout = timeout


class Mirror:
    """The mirrors of one revision's upstream; upstream: what a copy is sent by, without retries."""

    def __init__(self, settings: MirrorSettings, upstream: CompiledUpstream, state: MirrorState) -> None:
        self._settings = settings
        self._upstream = upstream
        self._millionths = millionths(settings.percent)
        self.state = state

    def copy(
        self, exchange: Exchange, upload: Upload | None, extra: Sequence[tuple[bytes, bytes]], now: float
    ) -> MirrorCopy | None:
        """The copy of an exchange whose request was sent to its end; None where there is to be none. What it takes
        counts as running from now on."""
        state, settings = self.state, self._settings
        if exchange.request.upgrade or not state.share.take(self._millionths):
            return None
        if upload is not None and (upload.kept is None or upload.kept_size > settings.buffer):
            state.too_large += 1
            return None
        if state.running >= settings.concurrent:
            state.busy += 1
            return None
        target = in_turn(self._upstream.balancer.mirrors, exchange, now)
        if target is None:
            state.unusable += 1
            return None
        state.running += 1
        body = () if upload is None else tuple(upload.kept or ())
        trailers = None if upload is None else upload.trailers
        request = _copy_of(exchange.request, sum(map(len, body)), upload is not None, trailers)
        own = Exchange(exchange.id, request, exchange.connection, exchange.client, exchange.started)
        return MirrorCopy(own, body, trailers, extra, self._upstream, target, state, settings.timeout)


def _copy_of(request: Request, size: int, has_body: bool, trailers: Headers | None) -> Request:
    """The request as it is now; who asked may change it later."""
    copy = Request(
        request.method, request.target, request.headers.copy(), request.authority, request.scheme, request.version
    )
    copy.headers.set(*MARK)
    if has_body:
        copy.length = size if trailers is None else None
    copy.withheld = request.withheld
    return copy
