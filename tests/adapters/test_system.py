"""The machine's clock, randomness and timers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
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


@contextmanager
def told_by_the_kernel(call: Callable[[], None]) -> Iterator[None]:
    """Octets wait to be read; `call` when the loop reads them."""
    mine, other = os.pipe()

    def read() -> None:
        os.read(mine, 1)
        call()

    loop = reactor._asyncioEventloop  # type: ignore[attr-defined]
    loop.add_reader(mine, read)
    os.write(other, b"x")
    try:
        yield
    finally:
        loop.remove_reader(mine)
        os.close(mine)
        os.close(other)


@pytest.mark.parametrize("count", [1, 500])
@ensureDeferred
async def test_late_timers_come_behind_what_waits_to_be_read(count: int) -> None:
    timers = ReactorTimers(reactor)
    seen: list[str] = []
    with told_by_the_kernel(lambda: seen.append("octet")):
        for _ in range(count):
            timers.call_later(0.005, seen.append, "late")
        last: Deferred[None] = Deferred()
        timers.call_later(0.006, last.callback, None)
        time.sleep(0.05)  # the loop is held
        await last
    assert seen == ["octet"] + ["late"] * count


@ensureDeferred
async def test_what_is_read_first_may_call_off_a_late_timer() -> None:
    timers = ReactorTimers(reactor)
    seen: list[str] = []
    timer = timers.call_later(0.005, seen.append, "late")
    with told_by_the_kernel(timer.cancel):
        last: Deferred[None] = Deferred()
        timers.call_later(0.006, last.callback, None)
        time.sleep(0.05)  # the loop is held
        await last
    assert seen == []


def test_a_late_timer_calls_once_and_keeps_nobody() -> None:
    clock, seen = Clock(), []
    timer = ReactorTimers(clock).call_later(1.0, seen.append, "late")
    clock.callLater(5.0, seen.append, "what was due, too")
    clock.advance(10.0)
    assert seen == ["what was due, too", "late"]
    timer.cancel()
    assert not clock.getDelayedCalls()
    assert timer._call is None and timer._arguments == ()


def test_a_timer_in_time_calls_at_once() -> None:
    clock, seen = Clock(), []
    ReactorTimers(clock).call_later(1.0, seen.append, "first")
    clock.callLater(1.0, seen.append, "second")
    clock.advance(1.0)
    assert seen == ["first", "second"]
