"""What the store in memory promises beyond the contract: bounded memory, an exact bound, clocks that jump."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apigateway.ports.interfaces import Capacity, Limit
from apigateway.ports.memory import ManualClock, MemoryStore
from apigateway.ports.memory_leases import Places
from apigateway.ports.memory_store import SWEEP_EVERY

gaps = st.lists(st.floats(0.0, 3.0, allow_subnormal=False), min_size=1, max_size=120)


@given(gaps, st.integers(1, 6))
def test_no_window_of_a_period_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    rule = Limit("k", limit, 10.0)
    granted = []
    for gap in gaps:
        clock.advance(gap)
        if store.take([rule]).granted:
            granted.append(clock.monotonic())
    # Of any limit + 1 neighbours, the first and the last are a whole period apart.
    assert all(last - first >= 10.0 - 1e-6 for first, last in zip(granted, granted[limit:], strict=False))


@given(gaps)
def test_a_sliding_window_refuses_only_what_a_period_and_a_slot_hold(gaps: list[float]) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    granted: list[float] = []
    for gap in gaps:
        clock.advance(gap)
        held = [at for at in granted if at > clock.monotonic() - 10.1 - 1e-6]
        decision = store.take([Limit("k", 3, 10.0)])
        assert decision.granted or len(held) >= 3
        if decision.granted:
            granted.append(clock.monotonic())


def test_counters_that_ended_are_swept_by_new_ones() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    for caller in range(20_000):
        store.take([Limit(f"caller-{caller}", 5, 1.0)])
        clock.advance(0.01)
    # About a hundred are alive at a time.
    assert len(store) < 400


def test_counters_that_ended_are_swept_by_old_ones() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    store.take([Limit(f"caller-{caller}", 5, 1.0) for caller in range(1000)])
    clock.advance(2.0)
    for _ in range(3000):
        store.take([Limit("steady", 5, 1.0)])
    assert len(store) == 1


def test_an_ended_counter_that_is_used_again_is_not_swept_by_the_next_rule() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    old = Limit("old", 2, 1.0)
    store.take([old])
    clock.advance(5.0)
    grants = [store.take([old, Limit(f"new-{turn}", 9, 1.0)]).granted for turn in range(6)]
    assert grants == [True, True, False, False, False, False]


def test_values_put_and_removed_again_and_again_stay_one() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    for _ in range(1000):
        store.put("k", b"v", 60.0)
        store.remove("k")
    assert len(store) <= 1
    store.put("k", b"w", 60.0)
    assert store.get("k") == b"w"


def test_a_living_key_is_never_swept() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    store.put("nonce", b"1", 1000.0)
    rule = Limit("slow", 1, 1000.0)
    store.take([rule])
    for caller in range(5000):
        store.take([Limit(f"caller-{caller}", 5, 0.001)])
        store.put(f"value-{caller}", b"", 0.001)
        clock.advance(0.01)
    assert store.get("nonce") == b"1"
    assert not store.take([rule]).granted


def test_setting_the_clock_of_the_machine_moves_nothing() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    algorithms = ("sliding-window", "fixed-window", "token-bucket")
    rules = [Limit("k", 2, 60.0, algorithm) for algorithm in algorithms]
    store.put("v", b"1", 60.0)
    store.take(rules, 2)
    for jump in (3600.0, -3600.0, 3.2e8):
        clock.set_wall(1_700_000_000.0 + jump)
        assert not any(store.take([rule]).granted for rule in rules)
        assert store.get("v") == b"1"


def test_a_fixed_window_is_aligned_to_utc() -> None:
    clock = ManualClock(monotonic=77.7, wall=1_700_000_000.0)  # 20 s into a minute
    store = MemoryStore(clock)
    assert round(store.take([Limit("k", 2, 60.0, "fixed-window")]).standings[0].reset_after, 6) == 40.0


def test_no_more_keys_are_held_than_may_be() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=100)
    for caller in range(5000):
        assert store.take([Limit(f"caller-{caller}", 5, 3600.0)]).granted
        store.put(f"value-{caller}", b"", 3600.0)
        clock.advance(0.001)
        assert len(store) <= 100 + SWEEP_EVERY
    assert store.evicted == 10_000 - len(store)


def test_what_ends_late_outlasts_a_flood_of_what_ends_soon() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=400)
    slow = [Limit(f"slow-{number}", 1, 3600.0) for number in range(10)]
    assert all(store.take([rule]).granted for rule in slow)
    for caller in range(20_000):
        store.take([Limit(f"caller-{caller}", 5, 60.0)])
        clock.advance(0.001)
    assert store.evicted > 19_000
    assert not any(store.take([rule]).granted for rule in slow)


def test_a_flood_of_counters_costs_no_value() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=100)
    store.put("nonce", b"1", 10.0)
    for caller in range(5000):
        store.take([Limit(f"caller-{caller}", 5, 3600.0)])
    assert store.get("nonce") == b"1"


def test_what_has_ended_is_not_counted_as_evicted() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=10)
    store.take([Limit(f"caller-{caller}", 5, 1.0) for caller in range(1000)])
    clock.advance(2.0)
    for _ in range(SWEEP_EVERY):
        store.take([Limit("steady", 5, 1.0)])
    assert len(store) <= 10
    assert store.evicted == 0


def test_no_rule_of_a_call_is_evicted_by_the_next_of_it() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=1)
    rules = [Limit(f"rule-{number}", 1, 60.0) for number in range(16)]
    assert store.take(rules).granted
    assert len(store) == 16
    assert not store.take(rules).granted


def test_capacities_of_which_nothing_is_held_are_swept() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    for caller in range(20_000):
        key = f"caller-{caller}"
        assert store.lease([Capacity(key, 1)], "holder", 30.0).granted
        store.release([key], "holder")
    assert len(store) < 100


def test_places_that_nobody_gave_back_are_swept() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    for caller in range(20_000):
        store.lease([Capacity(f"caller-{caller}", 1)], "holder", 1.0)
        clock.advance(0.01)
    assert len(store) < 400


def test_places_renewed_again_and_again_stay_few() -> None:
    clock = ManualClock()
    places = Places(clock.monotonic())
    for _ in range(10_000):
        clock.advance(0.01)
        places.forget(clock.monotonic())
        for holder in ("a", "b"):
            places.hold(holder, clock.monotonic() + 30.0)
        places.hold("c", clock.monotonic() + 30.0)
        places.give_back("c")
    assert len(places) == 2
    assert len(places._by_end) < 30


def test_a_flood_of_capacities_costs_no_counter() -> None:
    clock = ManualClock()
    store = MemoryStore(clock, most_keys=100)
    rule = Limit("slow", 1, 10.0)
    store.take([rule])
    for caller in range(5000):
        store.lease([Capacity(f"caller-{caller}", 1)], "holder", 3600.0)
        assert len(store) <= 100 + SWEEP_EVERY
    assert not store.take([rule]).granted
    assert store.evicted == 5001 - len(store)


def test_keys_without_end_are_held_within_bounds() -> None:
    """The counters of a limit per minute; those of one per day are more than there may be."""
    clock = ManualClock()
    minute, day = MemoryStore(clock), MemoryStore(clock, most_keys=2000)
    most = 0
    for caller in range(100_000):
        minute.take([Limit(f"caller-{caller}", 5, 6.0)])
        day.take([Limit(f"caller-{caller}", 5, 86400.0)])
        clock.advance(0.0036)
        most = max(most, len(minute))
        assert len(day) <= 2000 + SWEEP_EVERY
    # 1684 of them are in use at a time.
    assert most < 4 * 1684
    assert minute.evicted == 0
