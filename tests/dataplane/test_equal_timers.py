"""Timers of one length: called in time and in order, and nothing is kept of those that were called off."""

from __future__ import annotations

import random
from typing import Any

import pytest

from apigateway.dataplane.deadline import AT_ONCE
from apigateway.dataplane.equal_timers import MOST_IDLE, EqualTimers
from apigateway.ports.memory import ManualClock, ManualTimers


class Subject:
    """called: what was, in order, each with its time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = ManualTimers(self.clock)
        self.timers = EqualTimers(self.loop, self.clock.monotonic)
        self.began = self.clock.monotonic()
        self.called: list[tuple[Any, float]] = []

    def set(self, seconds: float, name: Any) -> Any:
        return self.timers.call_later(seconds, lambda: self.called.append((name, self.now)))

    @property
    def now(self) -> float:
        return round(self.clock.monotonic() - self.began, 6)


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_each_is_called_once_when_its_time_has_come(subject: Subject) -> None:
    subject.set(5.0, "a")
    subject.clock.advance(2.0)
    subject.set(5.0, "b")
    subject.set(1.0, "c")
    subject.clock.advance(20.0)
    assert subject.called == [("c", 3.0), ("a", 5.0), ("b", 7.0)]
    assert not subject.loop.waiting()


def test_what_was_called_off_is_not_called_and_may_be_called_off_again(subject: Subject) -> None:
    first, second = subject.set(1.0, "a"), subject.set(1.0, "b")
    first.cancel()
    first.cancel()
    subject.clock.advance(5.0)
    assert subject.called == [("b", 1.0)]
    second.cancel()
    subject.set(1.0, "c")
    subject.clock.advance(5.0)
    assert [name for name, _ in subject.called] == ["b", "c"]


def test_one_timer_of_the_loop_serves_all_of_a_length_and_ends_with_them(subject: Subject) -> None:
    for number in range(100):
        subject.set(5.0, number).cancel()
        subject.clock.advance(0.01)
    assert len(subject.loop.waiting()) == 1
    subject.clock.advance(10.0)
    assert not subject.loop.waiting()


@pytest.mark.parametrize("waits", [False, True])
def test_nothing_is_kept_of_what_was_called_off(subject: Subject, waits: bool) -> None:
    if waits:
        subject.set(3600.0, "an hour")  # all the others stand behind it
    for _ in range(10_000):
        subject.set(3600.0, "off").cancel()
    (row,) = subject.timers._rows.values()
    assert len(row.timers) <= MOST_IDLE + 3
    subject.clock.advance(3600.0)
    assert [name for name, _ in subject.called] == ["an hour"] * waits


def test_a_call_may_set_and_call_off_others(subject: Subject) -> None:
    def call() -> None:
        second.cancel()
        subject.set(1.0, "third")

    subject.timers.call_later(1.0, call)
    second = subject.set(1.0, "second")
    subject.clock.advance(5.0)
    assert subject.called == [("third", 2.0)]


def test_what_ended_behind_the_time_of_a_late_timer_waits_for_another(subject: Subject) -> None:
    subject.set(1.0, "first")
    subject.clock.advance(0.2)
    for number in range(3):
        subject.clock.advance(0.1)
        subject.set(1.0, number)
    subject.clock.hold(2.0)
    assert [name for name, _ in subject.called] == ["first"]
    subject.clock.advance(AT_ONCE)  # all of those that had ended then
    assert [name for name, _ in subject.called] == ["first", 0, 1, 2]


def test_one_that_fails_holds_nobody_up(subject: Subject) -> None:
    def fail() -> None:
        raise ValueError("a defect")

    subject.timers.call_later(1.0, fail)
    subject.set(1.0, "next")
    with pytest.raises(ValueError, match="a defect"):
        subject.clock.advance(1.0)
    subject.clock.advance(1.0)
    assert [name for name, _ in subject.called] == ["next"]


def test_the_end_calls_off_all(subject: Subject) -> None:
    subject.timers.call_later(1.0, subject.timers.close)
    subject.set(1.0, "a")
    subject.set(2.0, "b")
    subject.clock.advance(1.5)
    assert not subject.loop.waiting()
    subject.clock.advance(5.0)
    assert not subject.called


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_each_is_called_in_its_time_or_never(subject: Subject, seed: int) -> None:
    chance = random.Random(seed)
    due: dict[int, float] = {}
    timers: dict[int, Any] = {}
    for number in range(500):
        seconds = chance.choice((0.5, 1.0, 5.0))
        timers[number], due[number] = subject.set(seconds, number), round(subject.now + seconds, 6)
        if chance.random() < 0.6:
            other = chance.choice(list(timers))
            timers.pop(other).cancel()
            if other not in {name for name, _ in subject.called}:
                del due[other]
        subject.clock.advance(round(chance.random() * 0.2, 3))
    subject.clock.advance(10.0)
    assert dict(subject.called) == pytest.approx(due)
    assert len(subject.called) == len(due)
