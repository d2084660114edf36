"""A deadline: moved often, called once."""

from __future__ import annotations

import pytest

from apigateway.dataplane.deadline import AT_ONCE, Deadline
from apigateway.ports.memory import ManualClock, ManualTimers


class Subject:
    """expired: at which times, since the beginning."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.began = self.clock.monotonic()
        self.timers = ManualTimers(self.clock)
        self.expired: list[float] = []
        self.deadline = Deadline(self.timers, self.clock.monotonic, self._expired)

    def _expired(self) -> None:
        self.expired.append(round(self.clock.monotonic() - self.began, 6))

    def within(self, seconds: float) -> None:
        self.deadline.at(self.clock.monotonic() + seconds)


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_it_expires_once_when_its_time_has_come(subject: Subject) -> None:
    subject.within(5.0)
    subject.clock.advance(20.0)
    assert subject.expired == [5.0]
    assert not subject.timers.waiting()


def test_what_was_moved_expires_when_it_was_moved_to(subject: Subject) -> None:
    subject.within(5.0)
    subject.clock.advance(3.0)
    subject.within(5.0)
    subject.clock.advance(20.0)
    subject.within(5.0)
    subject.within(1.0)
    subject.clock.advance(20.0)
    assert subject.expired == [8.0, 24.0]


def test_off_and_stopped_it_does_not_expire(subject: Subject) -> None:
    subject.within(5.0)
    subject.deadline.off()
    subject.clock.advance(20.0)
    subject.within(5.0)
    subject.deadline.stop()
    subject.clock.advance(20.0)
    assert subject.expired == []
    assert not subject.timers.waiting()


def test_what_passed_behind_the_time_of_a_late_timer_waits_for_another(subject: Subject) -> None:
    subject.within(1.0)
    subject.clock.advance(0.5)
    subject.within(0.7)
    subject.clock.hold(1.0)
    assert subject.expired == []
    subject.clock.advance(AT_ONCE)
    assert subject.expired == [1.5 + AT_ONCE]
