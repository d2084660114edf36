"""What every IStateStore promises: limits and values. Every duration is a multiple of the subject's second."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from subjects import Subject, settled
from zope.interface.verify import verifyObject

from apigateway.ports.interfaces import Decision, IStateStore

ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


class TestTake:
    def test_the_interface_is_provided(self, subject: Subject) -> None:
        assert verifyObject(IStateStore, subject.store)

    @each_algorithm
    @ensureDeferred
    async def test_exactly_the_limit_is_granted(self, subject: Subject, algorithm: str) -> None:
        assert await subject.granted(subject.limit(5, algorithm=algorithm), times=20) == 5

    @each_algorithm
    @ensureDeferred
    async def test_remaining_counts_down_to_nothing(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(3, algorithm=algorithm)
        seen = [(await subject.take(rule)).standings[0].remaining for _ in range(5)]
        assert seen == [2, 1, 0, 0, 0]

    @each_algorithm
    @ensureDeferred
    async def test_a_cost_is_taken_whole_or_not_at_all(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(10, algorithm=algorithm)
        assert (await subject.take(rule, cost=7)).granted
        refused = await subject.take(rule, cost=4)
        assert (refused.granted, refused.standings[0].remaining) == (False, 3)
        assert (await subject.take(rule, cost=3)).granted

    @each_algorithm
    @ensureDeferred
    async def test_a_cost_above_the_limit_waits_a_period(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(3, algorithm=algorithm)
        refused = await subject.take(rule, cost=4)
        assert not refused.granted
        assert refused.standings[0].retry_after == rule.period
        assert await subject.granted(rule, times=5) == 3

    @each_algorithm
    @ensureDeferred
    async def test_a_limit_of_nothing_grants_nothing(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(0, algorithm=algorithm)
        refused = await subject.take(rule)
        assert (refused.granted, refused.standings[0].remaining) == (False, 0)
        assert (await subject.take(rule, cost=0)).granted

    @ensureDeferred
    async def test_a_negative_cost_is_an_error(self, subject: Subject) -> None:
        with pytest.raises(ValueError, match="not negative"):
            await subject.take(subject.limit(3), cost=-1)

    @each_algorithm
    @ensureDeferred
    async def test_all_is_free_again_after_reset_after(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(4, algorithm=algorithm)
        await subject.granted(rule, times=2)
        reset_after = (await subject.take(rule)).standings[0].reset_after
        assert 0 < reset_after <= rule.period * 1.01 + 1e-6
        await subject.passes(reset_after / subject.second + 0.01)
        assert await subject.granted(rule, times=9) == 4

    @each_algorithm
    @ensureDeferred
    async def test_retry_after_is_long_enough_and_no_longer(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(4, algorithm=algorithm)
        await subject.take(rule, cost=1)
        await subject.passes(1.0)
        await subject.take(rule, cost=3)
        seconds = (await subject.take(rule, cost=2)).standings[0].retry_after / subject.second
        await subject.passes(seconds - 0.2)
        assert not (await subject.take(rule, cost=2)).granted
        await subject.passes(0.21)
        granted = await subject.take(rule, cost=2)
        assert granted.granted
        assert granted.standings[0].retry_after == 0.0

    @each_algorithm
    @ensureDeferred
    async def test_counters_of_other_keys_are_apart(self, subject: Subject, algorithm: str) -> None:
        one, two = (subject.limit(2, algorithm=algorithm, key=key) for key in ("one", "two"))
        assert await subject.granted(one, times=3) == 2
        assert await subject.granted(two, times=3) == 2

    @each_algorithm
    @ensureDeferred
    async def test_a_lowered_limit_keeps_what_was_counted(self, subject: Subject, algorithm: str) -> None:
        await subject.granted(subject.limit(10, algorithm=algorithm), times=8)
        refused = await subject.take(subject.limit(5, algorithm=algorithm))
        assert (refused.granted, refused.standings[0].remaining) == (False, 0)
        assert 0 < refused.standings[0].retry_after <= refused.standings[0].reset_after

    @each_algorithm
    @ensureDeferred
    async def test_who_takes_nothing_may_where_the_limit_was_lowered(self, subject: Subject, algorithm: str) -> None:
        await subject.granted(subject.limit(10, algorithm=algorithm), times=8)
        rule = subject.limit(5, algorithm=algorithm)
        for rules in ((rule,), (rule, subject.limit(5, key="other", algorithm=algorithm))):
            nothing = await subject.take(*rules, cost=0)
            assert (nothing.granted, nothing.standings[0].remaining) == (True, 0)
            assert nothing.standings[0].retry_after == 0

    @ensureDeferred
    async def test_no_rule_grants(self, subject: Subject) -> None:
        assert await subject.take() == Decision(True, ())


class TestSeveralRules:
    @each_algorithm
    @ensureDeferred
    async def test_nothing_is_taken_where_one_refuses(self, subject: Subject, algorithm: str) -> None:
        wide = subject.limit(10, 20.0, algorithm, "wide")
        narrow = subject.limit(2, 10.0, algorithm, "narrow")
        assert await subject.granted(wide, narrow, times=6) == 2
        assert (await settled(subject.store.peek([wide]))).standings[0].remaining == 8

    @ensureDeferred
    async def test_only_the_rule_that_refused_says_when_to_retry(self, subject: Subject) -> None:
        wide, narrow = subject.limit(10, 20.0, key="wide"), subject.limit(1, key="narrow")
        await subject.take(wide, narrow)
        refused = await subject.take(wide, narrow)
        assert [standing.retry_after > 0 for standing in refused.standings] == [False, True]
        assert [standing.remaining for standing in refused.standings] == [9, 0]

    @each_algorithm
    @ensureDeferred
    async def test_two_rules_of_one_counter_count_once(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(3, algorithm=algorithm)
        assert await subject.granted(rule, rule, times=5) == 3

    @ensureDeferred
    async def test_one_key_with_two_periods_is_two_counters(self, subject: Subject) -> None:
        short, long = subject.limit(2, 1.0), subject.limit(3, 100.0)
        assert await subject.granted(short, long, times=5) == 2
        await subject.passes(1.1)
        assert await subject.granted(short, long, times=5) == 1


class TestAlgorithms:
    @ensureDeferred
    async def test_a_sliding_window_holds_a_unit_for_a_period(self, subject: Subject) -> None:
        rule = subject.limit(3)
        await subject.take(rule)
        await subject.passes(5.0)
        assert await subject.granted(rule, times=3) == 2
        await subject.passes(4.9)
        assert await subject.granted(rule, times=3) == 0
        await subject.passes(0.25)
        assert await subject.granted(rule, times=3) == 1

    @ensureDeferred
    async def test_a_fixed_window_begins_anew_at_a_multiple_of_the_period(self, subject: Subject) -> None:
        rule = subject.limit(3, algorithm="fixed-window")
        await subject.passes(9.0)
        assert await subject.granted(rule, times=5) == 3
        await subject.passes(1.5)
        assert await subject.granted(rule, times=5) == 3

    @ensureDeferred
    async def test_a_bucket_fills_evenly(self, subject: Subject) -> None:
        rule = subject.limit(10, algorithm="token-bucket")
        assert await subject.granted(rule, times=15) == 10
        await subject.passes(3.05)
        assert await subject.granted(rule, times=15) == 3
        await subject.passes(100.0)
        assert await subject.granted(rule, times=15) == 10


class TestPeek:
    @each_algorithm
    @ensureDeferred
    async def test_it_takes_nothing(self, subject: Subject, algorithm: str) -> None:
        rule = subject.limit(2, algorithm=algorithm)
        await subject.take(rule)
        seen = [await settled(subject.store.peek([rule])) for _ in range(3)]
        assert [(decision.granted, decision.standings[0].remaining) for decision in seen] == [(True, 1)] * 3
        await subject.take(rule)
        assert not (await settled(subject.store.peek([rule]))).granted

    @each_algorithm
    @ensureDeferred
    async def test_an_unused_rule_is_whole(self, subject: Subject, algorithm: str) -> None:
        standing = (await settled(subject.store.peek([subject.limit(7, algorithm=algorithm)]))).standings[0]
        assert (standing.remaining, standing.reset_after, standing.retry_after) == (7, 0.0, 0.0)


class TestValues:
    @ensureDeferred
    async def test_a_value_is_there_until_its_end(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"\x00\xff7", 2.0 * subject.second))
        await subject.passes(1.5)
        assert await settled(subject.store.get("a")) == b"\x00\xff7"
        await subject.passes(0.6)
        assert await settled(subject.store.get("a")) is None

    @ensureDeferred
    async def test_digits_stay_octets(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"007", 5.0 * subject.second))
        assert await settled(subject.store.get("a")) == b"007"

    @ensureDeferred
    async def test_a_second_put_replaces_value_and_end(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"1", 1.0 * subject.second))
        await settled(subject.store.put("a", b"2", 5.0 * subject.second))
        await subject.passes(2.0)
        assert await settled(subject.store.get("a")) == b"2"

    @ensureDeferred
    async def test_only_the_first_add_is_taken_until_it_ends(self, subject: Subject) -> None:
        added = [await settled(subject.store.add("n", value, 2.0 * subject.second)) for value in (b"1", b"2")]
        assert added == [True, False]
        assert await settled(subject.store.get("n")) == b"1"
        await subject.passes(2.1)
        assert await settled(subject.store.add("n", b"3", 2.0 * subject.second)) is True

    @ensureDeferred
    async def test_a_removed_key_is_gone_and_can_be_added(self, subject: Subject) -> None:
        await settled(subject.store.put("a", b"1", 9.0 * subject.second))
        await settled(subject.store.remove("a"))
        await settled(subject.store.remove("never there"))
        assert await settled(subject.store.get("a")) is None
        assert await settled(subject.store.add("a", b"2", 9.0 * subject.second)) is True

    @ensureDeferred
    async def test_values_and_counters_do_not_meet(self, subject: Subject) -> None:
        await settled(subject.store.put("k", b"1", 9.0 * subject.second))
        assert await subject.granted(subject.limit(2), times=3) == 2
        assert await settled(subject.store.get("k")) == b"1"
