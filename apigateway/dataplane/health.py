"""Active health: asks each target on its own connection, from the moment of deployment on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from apigateway.config.model import Health
from apigateway.dataplane.names import Name
from apigateway.dataplane.pool import Connect, Road
from apigateway.dataplane.shortage import short_of
from apigateway.flow.target_state import HealthChange, TargetState
from apigateway.ports.interfaces import IRandom, ITimers
from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.limits import DEFAULT_LIMITS
from apigateway.wire.message import MessageEnd, Refusal, Request, Response


class Probe(Protocol):
    """One check: a GET on a connection of its own. `status` fires with the status, or fails with why there is none."""

    def __init__(self, target: bytes, host: bytes) -> None:
        self._wire = Http1Client(DEFAULT_LIMITS)
        self._target = target
        self._host = host
        self.transport: Any = None
        self.status: Deferred[int]

    def connectionMade(self) -> None:
        # Only now: it holds this, and who never came to be connected would not let go of it.
        self.status = Deferred(lambda _: self.transport.abortConnection())
        request = Request(b"GET", self._target, Headers([(b"user-agent", b"apigateway-health")]))
        self.transport.write(self._wire.send_head(request, target=self._target, host=self._host))
        self._wire.send_end()

    def dataReceived(self, data: bytes) -> None:
        for event in self._wire.feed(data):
            if isinstance(event, Response):
                self._tell(event.status)
            if isinstance(event, MessageEnd | Refusal):
                self._tell(ValueError("not an HTTP response"))
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tell(ConnectionError("closed without an answer"))

    def _tell(self, result: int | Exception) -> None:
        status = self.status
        if status.called:
            return
        # The answer is known; the body does not matter, so the connection is not kept for it.
        self.transport.loseConnection()
        status.callback(result) if isinstance(result, int) else status.errback(result)


class _ProbeFactory(Factory):
    noisy = False

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def buildProtocol(self, addr: object) -> Probe:
        return self._probe


@dataclass(frozen=True, slots=True)
class CheckedPlace:
    """What a check needs to know of a target."""

    name: Name
    road: Road
    host: bytes
    prefix: bytes


class Checker:
    """Checks one target every interval, give or take a tenth, so that many workers and targets do not ask in step."""

    def __init__(
        self, state: TargetState, place: CheckedPlace, settings: Health, connect: Connect, timers: ITimers,
        random: IRandom, now: Callable[[], float], told: Callable[[HealthChange], None],
    ) -> None:
        assert settings.path is not None
        self._state, self._place, self._settings = state, place, settings
        self._connect, self._timers, self._random, self._now, self._told = connect, timers, random, now, told
        self._target = place.prefix + settings.path.encode("ascii")
        self._host = settings.host.encode("ascii") if settings.host else place.host
        self._timer: Any = None
        self._running: Deferred[Any] | None = None
        self._closed = False
        state.checkers += 1
        # The first one soon, and spread: all targets of a deployment begin at once.
        self._timer = timers.call_later(random.random() * min(1.0, settings.interval / 2), self._check)

    def close(self) -> None:
        """Check no more. With the last checker of a target goes what checks had said: nobody would ever say better."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()
        self._state.checkers -= 1
        if self._state.checkers == 0:
            change = self._state.unchecked(self._now())
            if change is not None:
                self._told(change)

    def _check(self) -> None:
        self._timer = None
        self._running = running = maybeDeferred(self._asked)
        late = self._timers.call_later(self._settings.timeout, running.cancel)
        running.addBoth(self._done, late)

    def _asked(self) -> Deferred[int]:
        """By callbacks: of a coroutine that fails, Twisted leaves a circle, with all that was connected."""
        name = self._place.name
        if name.addresses:
            return self._probed()
        return name.wait().addCallback(lambda _: self._probed())

    def _probed(self) -> Deferred[int]:
        road = self._place.road
        probe = Probe(self._target, self._host)
        connected = self._connect(
            (self._place.name.next(), road.port), _ProbeFactory(probe), road.context, road.server_name,
            self._settings.timeout,
        )
        return connected.addCallback(lambda _: probe.status)

    def _done(self, result: Any, late: Any) -> None:
        late.cancel()
        self._running = None
        if self._closed:
            return
        if not (isinstance(result, Failure) and short_of(result.value)):  # a check that could not ask says nothing
            good, why = self._judge(result)
            change = self._state.check_result(good, why, self._now(), self._settings)
            if change is not None:
                self._told(change)
        wait = self._settings.interval * (0.9 + 0.2 * self._random.random())
        self._timer = self._timers.call_later(wait, self._check)

    def _judge(self, result: Any) -> tuple[bool, str]:
        if isinstance(result, Failure):
            if result.check(CancelledError):
                return False, f"check not answered within {self._settings.timeout:g} s"
            return False, f"check failed: {result.type.__name__ if result.type else ''}: {result.value}"
        wanted = self._settings.statuses
        good = result in wanted if wanted else 200 <= result <= 399
        return good, f"check answered {result}"


