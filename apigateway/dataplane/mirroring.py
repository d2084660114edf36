"""Sends copies to mirrors, beside the traffic: what becomes of them is counted, and otherwise nobody's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from apigateway.flow.driver import Attempt
from apigateway.flow.exchange import Exchange
from apigateway.flow.live import LiveRevision
from apigateway.flow.mirror import MirrorCopy
from apigateway.flow.mirrored import MirroredExchange
from apigateway.flow.target_state import HealthChange, TargetState
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Response

if TYPE_CHECKING:
    from apigateway.dataplane.driver import WorkerDriver
    from apigateway.flow.answering import Answering
    from apigateway.flow.attempting import Attempting
    from apigateway.flow.upstream import CompiledUpstream


class Mirroring:
    """The copies that are on their way in a worker. Each has one timer, and never more than its upstream's time."""

    def __init__(self, driver: WorkerDriver) -> None:
        self._driver = driver
        self._hands = MirrorDriver(driver)
        self._running: set[_OnItsWay] = set()

    def begin(self, copy: MirrorCopy, revision: LiveRevision) -> None:
        """Send a copy, after what is being done now: the exchange that is copied goes first."""
        one = _OnItsWay(self._driver, self._hands, copy, revision, self._running.discard)
        self._running.add(one)
        one.begin()

    def close(self) -> None:
        """End all of them."""
        for one in list(self._running):
            one.end()


class _OnItsWay:
    """One copy: the ClientSide of its exchange, which takes everything and keeps nothing."""

    def __init__(
        self, driver: WorkerDriver, hands: MirrorDriver, copy: MirrorCopy, revision: LiveRevision,
        over: Callable[[_OnItsWay], None],
    ) -> None:
        self._driver, self._copy, self._over = driver, copy, over
        self._machine: MirroredExchange | None = MirroredExchange(hands, self, copy, revision)
        self._timer: Any = None

    def begin(self) -> None:
        self._timer = self._driver.call_later(0, self._start)

    def _start(self) -> None:
        machine = self._machine
        assert machine is not None
        self._timer = self._driver.call_later(self._copy.timeout, self.end)
        try:
            machine.start()
        except Exception:
            self._driver.event("error", "a copy could not be sent", traceback=Failure().getTraceback())
            self.end()

    def end(self) -> None:
        """Give it up."""
        if self._machine is not None:
            self._machine.client_gone()

    # ---- ClientSide

    def send_interim(self, interim: Interim) -> None:
        pass

    def send_head(self, response: Response, more: bool = False) -> None:
        pass

    def send_data(self, chunk: bytes) -> None:
        pass

    def send_end(self, trailers: Headers | None) -> None:
        pass

    def abort(self) -> None:
        pass

    def pause_request(self) -> None:
        pass

    def resume_request(self) -> None:
        pass

    def join(self, attempt: Attempt, machine: Answering) -> None:
        attempt.cancel()  # nothing that a copy asks for leads here

    def done(self, machine: Answering) -> None:
        self._machine = None
        self._copy.state.running -= 1
        if self._timer is not None:
            self._timer.cancel()
        self._over(self)


class MirrorDriver:
    """The Driver of copies: opens connections and counts attempts as for any exchange; writes no log."""

    def __init__(self, driver: WorkerDriver) -> None:
        self._driver = driver
        self.now = driver.now
        self.random = driver.random

    def open_upstream(
        self, machine: Attempting, upstream: CompiledUpstream, target: TargetState, fresh: bool
    ) -> Attempt | None:
        return self._driver.open_upstream(machine, upstream, target, fresh)

    def call_later(self, seconds: float, callable: Callable[[], Any]) -> Any:
        return self._driver.call_later(seconds, callable)

    def time_out(self, seconds: float, callable: Callable[[], Any]) -> Any:
        return self._driver.time_out(seconds, callable)

    def date(self) -> bytes:
        return self._driver.date()

    def event(self, level: str, message: str, **fields: Any) -> None:
        """Nobody is told what went wrong with a copy; the health of the mirror is."""

    def attempted(self, upstream: str, target: str, result: str) -> None:
        self._driver.attempted(upstream, target, result)

    def health_changed(self, change: HealthChange) -> None:
        self._driver.health_changed(change)

    def finished(self, exchange: Exchange) -> None:
        """It is no exchange of a client's."""

    def mirror(self, copy: MirrorCopy, revision: LiveRevision) -> None:
        """Copies are not copied."""
