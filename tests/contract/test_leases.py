"""What every IStateStore promises of leases, and of swapping values."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from subjects import Subject, settled

from apigateway.ports.interfaces import Capacity, Decision

TWO = Capacity("k", 2)


class TestLease:
    @ensureDeferred
    async def test_no_more_places_than_there_are(self, subject: Subject) -> None:
        decisions = [await subject.lease(f"h{number}", TWO) for number in range(4)]
        assert [decision.granted for decision in decisions] == [True, True, False, False]
        assert [decision.standings[0].remaining for decision in decisions] == [1, 0, 0, 0]
        assert [decision.standings[0].retry_after > 0 for decision in decisions] == [False, False, True, True]
        assert {decision.standings[0].reset_after for decision in decisions} == {0.0}

    @ensureDeferred
    async def test_a_place_given_back_is_free(self, subject: Subject) -> None:
        for holder in ("a", "b"):
            await subject.lease(holder, TWO)
        await settled(subject.store.release(["k"], "a"))
        await settled(subject.store.release(["k"], "a"))
        assert (await subject.lease("c", TWO)).granted
        assert not (await subject.lease("d", TWO)).granted

    @ensureDeferred
    async def test_what_is_not_there_is_given_back_without_harm(self, subject: Subject) -> None:
        await settled(subject.store.release(["never", "k"], "nobody"))
        await settled(subject.store.release([], "nobody"))
        await settled(subject.store.renew(["never"], ["nobody"], 10.0 * subject.second))
        await settled(subject.store.renew([], [], 10.0 * subject.second))
        assert (await subject.lease("a", Capacity("never", 1))).granted

    @ensureDeferred
    async def test_a_place_ends_by_itself(self, subject: Subject) -> None:
        await subject.lease("a", TWO, seconds=10.0)
        await subject.passes(4.0)
        await subject.lease("b", TWO, seconds=10.0)
        refused = await subject.lease("c", TWO)
        assert refused.standings[0].retry_after == pytest.approx(6.0 * subject.second, abs=1e-5)
        await subject.passes(5.9)
        assert not (await subject.lease("c", TWO)).granted
        await subject.passes(0.2)
        assert (await subject.lease("c", TWO)).granted
        assert not (await subject.lease("d", TWO)).granted

    @ensureDeferred
    async def test_who_asks_again_has_the_same_place(self, subject: Subject) -> None:
        await subject.lease("a", TWO)
        await subject.lease("b", TWO)
        await subject.passes(8.0)
        again = await subject.lease("a", TWO)
        assert (again.granted, again.standings[0].remaining) == (True, 0)
        await subject.passes(3.0)
        assert (await subject.lease("c", TWO)).granted
        assert not (await subject.lease("d", TWO)).granted

    @ensureDeferred
    async def test_nothing_is_taken_where_one_is_full(self, subject: Subject) -> None:
        wide, narrow = Capacity("wide", 9), Capacity("narrow", 1)
        assert (await subject.lease("a", wide, narrow)).granted
        refused = await subject.lease("b", wide, narrow)
        assert not refused.granted
        assert [standing.remaining for standing in refused.standings] == [8, 0]
        assert [standing.retry_after > 0 for standing in refused.standings] == [False, True]
        assert (await subject.lease("c", wide)).standings[0].remaining == 7
        await settled(subject.store.release(["wide", "narrow"], "a"))
        assert (await subject.lease("d", wide, narrow)).standings[0].remaining == 7

    @ensureDeferred
    async def test_two_rules_of_one_capacity_count_once(self, subject: Subject) -> None:
        granted = await subject.lease("a", TWO, TWO)
        assert [standing.remaining for standing in granted.standings] == [1, 1]
        assert (await subject.lease("b", TWO)).granted

    @ensureDeferred
    async def test_a_lowered_capacity_takes_nothing_away(self, subject: Subject) -> None:
        for holder in ("a", "b", "c"):
            await subject.lease(holder, Capacity("k", 3))
        one = Capacity("k", 1)
        assert (await subject.lease("a", one)).granted
        assert not (await subject.lease("d", one)).granted
        for holder in ("a", "b"):
            await settled(subject.store.release(["k"], holder))
        refused = await subject.lease("d", one)
        assert (refused.granted, refused.standings[0].remaining) == (False, 0)

    @ensureDeferred
    async def test_no_places_at_all(self, subject: Subject) -> None:
        refused = await subject.lease("a", Capacity("k", 0), seconds=5.0)
        assert (refused.granted, refused.standings[0].retry_after) == (False, 5.0 * subject.second)

    @ensureDeferred
    async def test_no_capacity_grants(self, subject: Subject) -> None:
        assert await subject.lease("a") == Decision(True, ())

    @ensureDeferred
    async def test_leases_values_and_counters_do_not_meet(self, subject: Subject) -> None:
        await settled(subject.store.put("k", b"1", 9.0 * subject.second))
        assert await subject.granted(subject.limit(2), times=3) == 2
        assert (await subject.lease("a", TWO)).standings[0].remaining == 1
        await settled(subject.store.remove("k"))
        assert (await subject.lease("b", TWO)).standings[0].remaining == 0


class TestRenew:
    @ensureDeferred
    async def test_what_is_renewed_ends_later(self, subject: Subject) -> None:
        for holder in ("a", "b"):
            await subject.lease(holder, TWO)
        for _ in range(5):
            await subject.passes(6.0)
            await settled(subject.store.renew(["k"], ["a"], 10.0 * subject.second))
        assert (await subject.lease("c", TWO)).granted
        assert not (await subject.lease("d", TWO)).granted
        await subject.passes(10.1)
        assert (await subject.lease("d", TWO)).standings[0].remaining == 1

    @ensureDeferred
    async def test_many_in_one_call(self, subject: Subject) -> None:
        one = [Capacity(f"k{number}", 1) for number in range(40)]
        for capacity in one:
            await subject.lease(f"of-{capacity.key}", capacity)
        await subject.passes(9.0)
        keys = [capacity.key for capacity in one]
        await settled(subject.store.renew(keys, [f"of-{key}" for key in keys], 10.0 * subject.second))
        await subject.passes(9.0)
        assert not any([(await subject.lease("other", capacity)).granted for capacity in one])

    @ensureDeferred
    async def test_what_has_ended_does_not_come_back(self, subject: Subject) -> None:
        await subject.lease("a", TWO)
        await subject.passes(5.0)
        await subject.lease("b", TWO)
        await subject.passes(5.1)
        await settled(subject.store.renew(["k", "k"], ["a", "b"], 10.0 * subject.second))
        assert (await subject.lease("c", TWO)).granted
        assert not (await subject.lease("d", TWO)).granted

    @ensureDeferred
    async def test_a_shorter_time_ends_sooner(self, subject: Subject) -> None:
        await subject.lease("a", TWO, seconds=100.0)
        await settled(subject.store.renew(["k"], ["a"], 5.0 * subject.second))
        await subject.passes(5.1)
        assert (await subject.lease("b", TWO)).standings[0].remaining == 1

    @ensureDeferred
    async def test_a_long_lease_outlives_shorter_ones(self, subject: Subject) -> None:
        await subject.lease("a", TWO, seconds=100.0)
        await subject.lease("b", TWO, seconds=1.0)
        await settled(subject.store.renew(["k"], ["b"], 1.0 * subject.second))
        await subject.passes(50.0)
        assert (await subject.lease("c", TWO)).standings[0].remaining == 0


class TestSwap:
    @ensureDeferred
    async def test_from_nothing_only_where_there_is_nothing(self, subject: Subject) -> None:
        seconds = 9.0 * subject.second
        swapped = [await settled(subject.store.swap("a", None, value, seconds)) for value in (b"1", b"2")]
        assert swapped == [True, False]
        assert await settled(subject.store.get("a")) == b"1"

    @ensureDeferred
    async def test_only_what_is_expected(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"\x00\xff", 9.0 * subject.second))
        seconds = 20.0 * subject.second
        assert await settled(subject.store.swap("a", b"\x00", b"2", seconds)) is False
        assert await settled(subject.store.swap("a", b"", b"2", seconds)) is False
        assert await settled(subject.store.swap("b", b"", b"2", seconds)) is False
        assert await settled(subject.store.swap("a", b"\x00\xff", b"", seconds)) is True
        await subject.passes(15.0)
        assert await settled(subject.store.get("a")) == b""
        assert await settled(subject.store.swap("a", None, b"3", seconds)) is False
        assert await settled(subject.store.swap("a", b"", b"3", seconds)) is True
        assert await settled(subject.store.get("a")) == b"3"

    @ensureDeferred
    async def test_forgotten_where_it_is_expected(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"1", 9.0 * subject.second))
        assert await settled(subject.store.swap("a", b"2", None)) is False
        assert await settled(subject.store.get("a")) == b"1"
        assert await settled(subject.store.swap("a", b"1", None)) is True
        assert await settled(subject.store.get("a")) is None
        assert await settled(subject.store.swap("a", None, None)) is True

    @ensureDeferred
    async def test_what_has_ended_is_nothing(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"1", 5.0 * subject.second))
        await subject.passes(5.5)
        assert await settled(subject.store.swap("a", b"1", b"2", 9.0 * subject.second)) is False
        assert await settled(subject.store.swap("a", None, b"2", 9.0 * subject.second)) is True

    @ensureDeferred
    async def test_a_value_has_a_time(self, subject: Subject) -> None:
        with pytest.raises(ValueError, match="no time"):
            await settled(subject.store.swap("a", None, b"1"))
