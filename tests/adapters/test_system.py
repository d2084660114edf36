"""The machine's clock, randomness and timers."""

from __future__ import annotations

import time

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from apigateway.adapters.system import ReactorTimers, SystemClock, SystemRandom
from apigateway.ports.interfaces import ICancellable, IClock, IRandom, ITimers


def test_the_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert verifyObject(IClock, clock)
    assert clock.monotonic is time.monotonic
    assert abs(clock.wall() - time.time()) < 1.0


def test_randomness() -> None:
    random = SystemRandom()
    assert verifyObject(IRandom, random)
    drawn = {random.random() for _ in range(100)}
    assert len(drawn) == 100
    assert all(0.0 <= value < 1.0 for value in drawn)
    assert len(random.token(16)) == 16
    assert random.token(16) != random.token(16)


@ensureDeferred
async def test_a_timer_calls_with_its_arguments() -> None:
    timers = ReactorTimers(reactor)
    assert verifyObject(ITimers, timers)
    fired: Deferred[str] = Deferred()
    timer = timers.call_later(0.001, fired.callback, "now")
    assert verifyObject(ICancellable, timer)
    assert await fired == "now"
    timer.cancel()  # over already: harmless


@ensureDeferred
async def test_a_timer_called_off_does_not_call() -> None:
    timers = ReactorTimers(reactor)
    seen: list[str] = []
    timer = timers.call_later(0.0, seen.append, "never")
    timer.cancel()
    timer.cancel()
    later: Deferred[None] = Deferred()
    timers.call_later(0.01, later.callback, None)
    await later
    assert seen == []
