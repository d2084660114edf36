"""The twins of time, randomness, logs and names."""

from __future__ import annotations

import pytest
from zope.interface import Interface
from zope.interface.verify import verifyObject

from apigateway.ports.interfaces import (
    ICancellable,
    IClock,
    IEventLog,
    IMetrics,
    IRandom,
    IResolver,
    ITimers,
    NameNotFound,
    Resolution,
    ResolutionFailed,
)
from apigateway.ports.memory import (
    ListedEvents,
    ListedNames,
    ManualClock,
    ManualTimers,
    NullMetrics,
    SeededRandom,
)


@pytest.mark.parametrize(
    ("interface", "twin"),
    [(IClock, ManualClock()), (ITimers, ManualTimers(ManualClock())), (IRandom, SeededRandom()),
     (IMetrics, NullMetrics()), (IEventLog, ListedEvents()), (IResolver, ListedNames()),
     (ICancellable, ManualTimers(ManualClock()).call_later(1.0, print))],
)
def test_the_interface_is_provided(interface: type[Interface], twin: object) -> None:
    assert verifyObject(interface, twin)


def test_timers_fire_in_order_each_at_its_own_time() -> None:
    clock = ManualClock(monotonic=0.0, wall=100.0)
    timers = ManualTimers(clock)
    seen: list[tuple[str, float, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.monotonic(), clock.wall()))

    timers.call_later(3.0, note, "late")
    timers.call_later(1.0, note, "first")
    timers.call_later(1.0, note, "second")
    clock.advance(2.0)
    assert seen == [("first", 1.0, 101.0), ("second", 1.0, 101.0)]
    assert [timer.due for timer in timers.waiting()] == [3.0]
    clock.advance(2.0)
    assert seen[2:] == [("late", 3.0, 103.0)]
    assert (clock.monotonic(), clock.wall()) == (4.0, 104.0)


def test_a_timer_set_by_a_timer_fires_in_the_same_advance() -> None:
    clock = ManualClock()
    timers = ManualTimers(clock)
    seen: list[str] = []
    timers.call_later(1.0, lambda: timers.call_later(1.0, seen.append, "again"))
    clock.advance(1.5)
    assert seen == []
    clock.advance(1.0)
    assert seen == ["again"]


def test_while_a_loop_is_held_timers_wait_and_what_they_set_waits_longer() -> None:
    clock = ManualClock()
    timers = ManualTimers(clock)
    seen: list[float] = []
    timers.call_later(2.0, lambda: seen.append(clock.monotonic()))
    timers.call_later(1.0, timers.call_later, 0.0, lambda: seen.append(-clock.monotonic()))
    began = clock.monotonic()
    clock.hold(3.0)
    assert seen == [began + 3.0]
    clock.advance(0.0)
    assert seen == [began + 3.0, -began - 3.0]


def test_a_timer_called_off_does_not_fire() -> None:
    clock = ManualClock()
    timers = ManualTimers(clock)
    seen: list[str] = []
    timer = timers.call_later(1.0, seen.append, "never")
    timer.cancel()
    assert timers.waiting() == []
    clock.advance(2.0)
    timer.cancel()
    assert seen == []


def test_a_timer_of_no_seconds_waits_for_the_clock() -> None:
    clock = ManualClock()
    seen: list[str] = []
    ManualTimers(clock).call_later(0.0, seen.append, "now")
    assert seen == []
    clock.advance(0.0)
    assert seen == ["now"]


def test_setting_the_wall_clock_fires_nothing() -> None:
    clock = ManualClock(monotonic=5.0)
    seen: list[str] = []
    ManualTimers(clock).call_later(1.0, seen.append, "now")
    clock.set_wall(9e9)
    assert (seen, clock.monotonic(), clock.wall()) == ([], 5.0, 9e9)


def test_a_seed_repeats_its_sequence() -> None:
    one, two, other = SeededRandom(1), SeededRandom(1), SeededRandom(2)
    drawn = [one.random() for _ in range(1000)]
    assert drawn == [two.random() for _ in range(1000)]
    assert drawn != [other.random() for _ in range(1000)]
    assert min(drawn) >= 0.0
    assert max(drawn) < 1.0
    assert 0.45 < sum(drawn) / 1000 < 0.55
    assert len(one.token(16)) == 16
    assert one.token(16) != one.token(16)


def test_listed_names_answer_and_fail() -> None:
    names = ListedNames({"a.test": Resolution(("192.0.2.1",), 30.0), "b.test": ResolutionFailed("SERVFAIL")})
    answers: list[object] = []
    for name in ("a.test", "b.test", "c.test"):
        names.resolve(name).addBoth(answers.append)
    assert answers[0] == Resolution(("192.0.2.1",), 30.0)
    assert [failure.type for failure in answers[1:]] == [ResolutionFailed, NameNotFound]  # type: ignore[attr-defined]
    assert names.asked == ["a.test", "b.test", "c.test"]


def test_listed_events_are_kept() -> None:
    events = ListedEvents()
    events.event("warn", "gone", target="one")
    assert events.events == [("warn", "gone", {"target": "one"})]
