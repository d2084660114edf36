"""The machine's clock, randomness and timers."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from apigateway.adapters.system import ReactorTimer, ReactorTimers, SystemClock, SystemRandom
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
def held_loop(begin: Callable[[], None], call: Callable[[], None]) -> Iterator[None]:
    """In a turn's reads the loop does `begin` and is held for 50 ms; meanwhile comes what is read with `call`."""
    (first, starts), (second, tells) = os.pipe(), os.pipe()
    loop = reactor._asyncioEventloop  # type: ignore[attr-defined]

    def hold() -> None:
        os.read(first, 1)
        os.write(tells, b"x")
        begin()
        time.sleep(0.05)

    def read() -> None:
        os.read(second, 1)
        call()

    loop.add_reader(first, hold)
    loop.add_reader(second, read)
    os.write(starts, b"x")
    try:
        yield
    finally:
        for descriptor in (first, second):
            loop.remove_reader(descriptor)
        for descriptor in (first, starts, second, tells):
            os.close(descriptor)


@pytest.mark.parametrize("count", [1, 500])
@ensureDeferred
async def test_late_timers_come_behind_what_waits_to_be_read(count: int) -> None:
    timers, last = ReactorTimers(reactor), Deferred[None]()
    seen: list[str] = []

    def begin() -> None:
        for _ in range(count):
            timers.call_later(0.005, seen.append, "late")
        timers.call_later(0.01, last.callback, None)

    with held_loop(begin, lambda: seen.append("octet")):
        await last
    assert seen == ["octet"] + ["late"] * count


@ensureDeferred
async def test_what_is_read_first_may_call_off_a_late_timer() -> None:
    timers, last = ReactorTimers(reactor), Deferred[None]()
    seen: list[str] = []
    begun: list[ReactorTimer] = []

    def begin() -> None:
        begun.append(timers.call_later(0.005, seen.append, "late"))
        timers.call_later(0.01, last.callback, None)

    with held_loop(begin, lambda: begun[0].cancel()):
        await last
    assert seen == []


class Owner:
    """Who waits. called: by the timer."""

    def __init__(self) -> None:
        self.called = 0

    def call(self, _: object) -> None:
        self.called += 1


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_a_timer_is_called_off_at_any_time_of_its_turn(hops: int) -> None:
    clock, owner = Clock(), Owner()

    def cancel(left: int) -> None:
        if left:
            clock.callLater(0, cancel, left - 1)
        else:
            timer.cancel()

    clock.callLater(1.0, cancel, hops)
    timer = ReactorTimers(clock).call_later(1.0, owner.call, object())
    clock.advance(10.0)
    assert owner.called == 0
    assert not clock.getDelayedCalls()
    alive = weakref.ref(owner)
    del owner
    assert alive() is None


def test_a_late_timer_calls_once_and_keeps_nobody() -> None:
    clock, owner = Clock(), Owner()
    timer = ReactorTimers(clock).call_later(1.0, owner.call, object())
    before: list[int] = []
    clock.callLater(5.0, lambda it: before.append(it().called), alive := weakref.ref(owner))
    clock.advance(10.0)
    assert (before, owner.called) == ([0], 1)
    timer.cancel()
    assert not clock.getDelayedCalls()
    del owner
    assert alive() is None


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_timer_may_call_itself_off(seconds: float) -> None:
    clock, seen = Clock(), []

    def call() -> None:
        timer.cancel()
        seen.append("first")

    timer = ReactorTimers(clock).call_later(seconds, call)
    clock.advance(seconds)
    assert seen == ["first"]
    assert not clock.getDelayedCalls()


def test_what_is_called_now_waits_for_nobody() -> None:
    clock, seen = Clock(), []
    ReactorTimers(clock).call_later(0.0, seen.append, "now")
    clock.callLater(5.0, seen.append, "later")
    clock.advance(10.0)
    assert seen == ["now", "later"]
