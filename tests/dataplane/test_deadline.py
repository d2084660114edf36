"""A deadline: moved, called once, and never before who was away has listened."""

from __future__ import annotations

import pytest

from apigateway.dataplane.deadline import LATE, LISTEN, Deadline
from apigateway.ports.memory import ManualClock, ManualTimers


class Subject:
    """expired: at which times, since the beginning. away: for so many seconds no timer was called."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.began = self.clock.monotonic()
        self.away = 0.0
        self.timers = ManualTimers(self.clock)
        self.expired: list[float] = []
        self.deadline = Deadline(self.timers, self.now, lambda: self.expired.append(self.since))

    def now(self) -> float:
        return self.clock.monotonic() + self.away

    @property
    def since(self) -> float:
        return round(self.now() - self.began, 6)

    def within(self, seconds: float) -> None:
        self.deadline.at(self.now() + seconds)


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


def test_who_was_away_listens_first(subject: Subject) -> None:
    subject.within(5.0)
    subject.away = 3.0
    subject.clock.advance(5.0)
    assert subject.expired == []
    subject.clock.advance(LISTEN)
    assert subject.expired == [8.0 + LISTEN]
    assert not subject.timers.waiting()


def test_what_came_while_away_moves_the_deadline(subject: Subject) -> None:
    subject.within(5.0)
    subject.away = 3.0
    subject.clock.advance(5.0)
    subject.within(5.0)
    subject.clock.advance(20.0)
    assert subject.expired == [13.0]


def test_what_came_while_away_may_end_it(subject: Subject) -> None:
    subject.within(5.0)
    subject.away = 3.0
    subject.clock.advance(5.0)
    subject.deadline.stop()
    subject.clock.advance(20.0)
    assert subject.expired == []
    assert not subject.timers.waiting()


def test_who_is_away_again_and_again_listens_once(subject: Subject) -> None:
    subject.within(5.0)
    subject.away = 3.0
    subject.clock.advance(5.0)
    subject.away = 6.0
    subject.clock.advance(LISTEN)
    assert len(subject.expired) == 1


def test_a_timer_in_time_is_believed(subject: Subject) -> None:
    subject.within(5.0)
    subject.away = LATE / 2
    subject.clock.advance(5.0)
    assert len(subject.expired) == 1
