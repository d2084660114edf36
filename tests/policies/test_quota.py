"""quota: windows of the calendar, counters that operators see, and what happens without a store."""

from __future__ import annotations

from datetime import datetime

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail

from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import QUOTA_EXCEEDED, UNAVAILABLE, Fault
from apigateway.flow.quotas_shown import IKeepsQuotas
from apigateway.ports.interfaces import StoreUnavailable
from apigateway.ports.memory_quotas import MemoryQuotas
from apigateway.testing.live import settled


class RemoteQuotas:
    """Quotas behind Deferreds. down: "later" fails Deferreds, "at once" raises."""

    def __init__(self, clock) -> None:
        self.memory = MemoryQuotas(clock)
        self.down = ""
        self.asked = 0

    def __getattr__(self, name):
        def call(*arguments):
            self.asked += 1
            if self.down == "at once":
                raise StoreUnavailable("the disk does not answer")
            if self.down:
                return fail(StoreUnavailable("no answer"))
            answer = Deferred()
            answer.callback(getattr(self.memory, name)(*arguments))
            return answer

        return call


class Using:
    """Requests through a policy."""

    def __init__(self, policy, exchange) -> None:
        self.policy, self._exchange = policy, exchange
        self.last = None

    def ask(self, consumer="", **how):
        """The fault, or None where it was let through."""
        made = self.last = self._exchange(answer=(), **how)
        if consumer:
            made.put(IDENTITY, Identity(consumer=consumer, roles=frozenset({consumer})))
        results: list[object] = []
        try:
            outcome = self.policy.on_request(made)
            if outcome is None:
                return None
        except Fault as fault:
            return fault
        ensureDeferred(outcome).addBoth(results.append)
        assert results
        return None if results[0] is None else results[0].value

    def granted(self, times, **how):
        return [self.ask(**how) is None for _ in range(times)]

    def fields(self):
        self.policy.on_response(self.last)
        return {name.decode(): value.decode() for name, value in self.last.response.headers.lines}


@pytest.fixture
def using(bench, exchange):
    def make(place="", **settings):
        return Using(bench.policy("quota", settings, place=place), exchange)

    return make


@pytest.fixture
def remote(bench):
    bench.quotas = RemoteQuotas(bench.clock)
    return bench.quotas


def at(bench, text):
    bench.clock.set_wall(datetime.fromisoformat(text).timestamp())


def test_remaining_goes_down_to_nothing_and_then_it_is_refused(bench, using):
    quota = using(limit=5, per="never")
    for remaining in (4, 3, 2, 1, 0):
        assert quota.ask() is None
        assert quota.fields() == {"ratelimit-policy": '"never";q=5', "ratelimit": f'"never";r={remaining}'}
    for _ in range(2):
        fault = quota.ask()
        assert (fault.kind, fault.headers) == (QUOTA_EXCEEDED, ())
        assert fault.members == {"violated-policies": ["never"]}
        assert quota.fields()["ratelimit"] == '"never";r=0'
    assert bench.metrics.decisions[-1] == ("shop", "read", "quota", False)


@pytest.mark.parametrize(
    ("per", "seconds", "wait"),
    [("hour", 3600, 1800), ("day", 23 * 3600, 13.5 * 3600), ("week", 601200, 13.5 * 3600), ("month", 2674800, 221400)],
)
def test_a_window_ends_by_the_clock_on_the_wall(bench, using, per, seconds, wait):
    at(bench, "2026-03-29T10:30:00+02:00")  # a Sunday on which the clock was set forward
    quota = using(limit=1, per=per, zone="Europe/Berlin")
    assert quota.ask() is None
    assert quota.fields() == {
        "ratelimit-policy": f'"{per}";q=1;w={seconds}', "ratelimit": f'"{per}";r=0;t={int(wait)}'
    }
    assert quota.ask().headers == ((b"retry-after", b"%d" % wait),)
    bench.clock.advance(wait - 1.0)
    assert quota.ask().headers == ((b"retry-after", b"1"),)
    bench.clock.advance(1.0)
    assert quota.ask() is None


def test_the_fields_follow_the_month(bench, using):
    quota = using(limit=1, per="month")
    for month, days in (("2026-01", 31), ("2026-02", 28), ("2028-02", 29), ("2026-04", 30)):
        at(bench, f"{month}-10T00:00:00+00:00")
        assert quota.ask() is None
        assert quota.fields()["ratelimit-policy"] == f'"month";q=1;w={days * 86400}'


def test_rules_are_all_kept_or_none_is_taken_from(using):
    quota = using(
        rules=[
            {"limit": 1, "per": "day", "by": "header:X-Project", "name": "project"},
            {"limit": 3, "per": "month"},
        ]
    )
    assert quota.ask(headers=[("X-Project", "a")]) is None
    fault = quota.ask(headers=[("X-Project", "a")])
    assert fault.members == {"violated-policies": ["project"]}
    assert quota.ask(headers=[("X-Project", "b")]) is None
    assert quota.ask(headers=[("X-Project", "c")]) is None
    assert quota.ask(headers=[("X-Project", "d")]).members == {"violated-policies": ["month"]}


def test_what_waits_for_nothing_has_no_retry_after(using):
    quota = using(rules=[{"limit": 1, "per": "hour"}, {"limit": 1, "per": "never"}])
    assert quota.ask() is None
    assert quota.ask().headers == ()


def test_a_cost_that_no_window_can_hold_has_no_retry_after(using):
    quota = using(limit=5, per="day", cost='request.method == "POST" ? 6 : 1')
    assert quota.ask(method="POST").headers == ()
    assert quota.ask() is None


def test_tiers_have_counters_of_their_own(using):
    quota = using(
        limit=1, per="day",
        tiers=[
            {"name": "gold", "match": {"role": "gold"}, "limit": 3, "per": "month"},
            {"match": {"consumer": "acme"}, "rules": [{"limit": 2, "per": "day"}, {"limit": 9, "per": "never"}]},
        ],
    )
    assert quota.granted(2) == [True, False]
    assert quota.granted(4, consumer="gold") == [True, True, True, False]
    assert quota.granted(3, consumer="acme") == [True, True, False]
    assert quota.policy.consumers_named == {"acme"}
    assert [rule["name"] for rule in quota.policy.rules()] == ["day", "month@gold", "day@2", "never@2"]


def test_counters_outlive_a_reload_and_belong_to_their_step(using):
    assert using(limit=1, per="day", place="api/shop/a").granted(2) == [True, False]
    assert using(limit=1, per="day", place="api/shop/b").granted(1) == [True]
    assert using(limit=2, per="day", place="api/shop/a").granted(2) == [True, False]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", set()), ("draft", {"ratelimit", "ratelimit-policy"}),
        ("legacy", {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
    ],
)
def test_headers(using, choice, names):
    quota = using(limit=1, per="day", headers=choice)
    quota.ask()
    assert set(quota.fields()) == names


# ---- operators


def shown(bench, awaitable):
    return settled(awaitable, bench.clock)


@pytest.mark.parametrize("where", ["memory", "elsewhere"])
def test_usage_is_read_and_reset(bench, using, where):
    if where == "elsewhere":
        bench.quotas = RemoteQuotas(bench.clock)
    at(bench, "2026-11-26T12:00:00+01:00")
    quota = using(rules=[{"limit": 2, "per": "day"}, {"limit": 9, "per": "never", "by": "api"}], zone="Europe/Berlin")
    assert quota.granted(3, consumer="acme") == [True, True, False]
    policy = quota.policy
    assert IKeepsQuotas.providedBy(policy)
    day = {
        "key": "day/c:acme", "rule": "day", "limit": 2, "used": 2, "remaining": 0,
        "begins": "2026-11-26T00:00:00+01:00", "ends": "2026-11-27T00:00:00+01:00",
    }
    never = {
        "key": "never/shop", "rule": "never", "limit": 9, "used": 2, "remaining": 7, "begins": None, "ends": None
    }
    assert shown(bench, policy.usage("", 10)) == [day, never]
    assert len(shown(bench, policy.usage("", 1))) == 1
    assert shown(bench, policy.usage("day/c:acme", 10)) == [day]
    assert shown(bench, policy.usage("day/c:nobody", 10)) == [{**day, "key": "day/c:nobody", "used": 0, "remaining": 2}]
    assert shown(bench, policy.reset("day/c:acme")) is True
    assert shown(bench, policy.reset("day/c:acme")) is False
    assert quota.granted(1, consumer="acme") == [True]


@pytest.mark.parametrize("key", ["day", "month/c:acme", "/c:acme", "da/y", "x" * 9000])
def test_a_key_that_is_none(bench, using, key):
    policy = using(limit=2, per="day").policy
    for call in (lambda: policy.usage(key, 10), lambda: policy.reset(key)):
        with pytest.raises(LookupError):
            shown(bench, call())


def test_usage_shows_no_other_step_s(bench, using):
    """Of a step whose name begins another one's place."""
    one = using(limit=2, per="day", place="api/shop/route")
    other = using(limit=2, per="day", place="api/shop/route/x/quota")
    one.ask()
    other.ask()
    assert [each["used"] for each in shown(bench, one.policy.usage("", 10))] == [1]


# ---- without a store


@pytest.mark.parametrize("down", ["later", "at once"])
@pytest.mark.parametrize(
    ("choice", "granted"), [("local", [True, True, False]), ("open", [True, True, True])]
)
def test_when_the_store_does_not_answer(bench, using, remote, down, choice, granted):
    remote.down = down
    quota = using(limit=2, per="day", on_store_failure=choice, tell_store_failure=True)
    assert quota.granted(3) == granted
    assert quota.last.notes == {"store": choice}
    assert quota.fields()["x-store-failure"] == choice
    assert bench.metrics.failures == [("quota", choice)] * 3


@pytest.mark.parametrize("down", ["later", "at once"])
def test_nothing_is_used_that_is_not_counted_unless_that_is_wanted(using, remote, down):
    remote.down = down
    fault = using(limit=2, per="day").ask()
    assert (fault.kind, fault.headers) == (UNAVAILABLE, ((b"retry-after", b"1"),))


def test_after_a_local_time_there_is_no_burst(bench, using, remote):
    quota = using(limit=3, per="day", on_store_failure="local")
    assert quota.granted(1) == [True]
    remote.down = "later"
    assert quota.granted(2) == [True, True]
    remote.down = ""
    # Three were let through by this worker, two of which the store does not know of: one more counts here, too.
    assert quota.granted(3) == [True, False, False]
    asked = remote.asked
    assert quota.granted(1) == [False] and remote.asked == asked
    bench.clock.advance(86400.0)
    assert quota.granted(4) == [True, True, True, False]


def test_what_the_store_refuses_is_not_counted_here(bench, using, remote):
    """Else who asks in vain by one rule would use up here what he has by another."""
    rules = [{"limit": 3, "per": "hour", "by": "api"}, {"limit": 4, "per": "month", "by": "ip"}]
    quota = using(rules=rules, on_store_failure="local", place="x")
    bench.shared = type(bench.shared)()
    another_worker = using(rules=rules, place="x")
    remote.down = "later"
    assert quota.granted(1) == [True]
    remote.down = ""
    assert another_worker.granted(3, client="198.51.100.7") == [True] * 3
    assert quota.granted(30) == [False] * 30
    bench.clock.advance(3600.0)
    assert quota.granted(4) == [True, True, True, False]


def test_a_reset_is_one_for_what_is_held_here_too(bench, using, remote):
    quota = using(limit=2, per="never", by="ip", on_store_failure="local")
    remote.down = "later"
    assert quota.granted(3) == [True, True, False]
    remote.down = ""
    assert quota.granted(1) == [False]
    settled(quota.policy.reset("never/203.0.113.9"), bench.clock)
    assert quota.granted(3) == [True, True, False]
    quota.policy.close()
    bench.notices.tell("quota-reset", b"default/api/shop/quota/never/203.0.113.9")
    assert quota.granted(1) == [False]


def test_a_look_at_the_usage_does_not_keep_the_fields_from_following(bench, using):
    quota = using(limit=5, per="day", by="ip")
    for _ in range(2):
        settled(quota.policy.usage("day/203.0.113.9", 10), bench.clock)
        assert quota.ask() is None
        assert quota.fields()["ratelimit-policy"] == '"day";q=5;w=86400'
        bench.clock.advance(86400.0)


def test_a_request_is_counted_here_once(using, remote):
    quota = using(limit=4, per="never", on_store_failure="local")
    remote.down = "later"
    assert quota.granted(6) == [True] * 4 + [False] * 2


def test_a_store_that_is_nowhere_is_one_that_does_not_answer(bench, exchange):
    from apigateway.ports.memory_quotas import NoQuotas

    bench.quotas = NoQuotas()
    quota = Using(bench.policy("quota", {"limit": 1, "per": "day"}), exchange)
    assert quota.ask().kind is UNAVAILABLE
    for call in (quota.policy.usage("", 1), quota.policy.usage("day/x", 1), quota.policy.reset("day/x")):
        with pytest.raises(StoreUnavailable):
            settled(call, bench.clock)


# ---- settings


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "limit and per, or rules"),
        ({"limit": 1}, "limit and per"),
        ({"limit": 0, "per": "day"}, "/with/limit"),
        ({"limit": -1, "per": "day"}, "/with/limit"),
        ({"limit": 1, "per": "year"}, "/with/per"),
        ({"limit": 1, "per": "day", "zone": "Europe/Berlon"}, '/with/zone: there is no time zone "Europe/Berlon"; "Eu'),
        ({"limit": 1, "per": "day", "zone": "../x"}, "/with/zone"),
        ({"limit": 1, "per": "day", "rules": [{"limit": 1, "per": "day"}]}, "not both"),
        ({"rules": [{"limit": 1, "per": "day", "name": "a"}, {"limit": 1, "per": "hour", "name": "a"}]}, "one name"),
        ({"limit": 1, "per": "day", "cost": -1}, "/with/cost"),
        ({"limit": 1, "per": "day", "cost": 2}, "more than a limit"),
        ({"limit": 1, "per": "day", "cost": "nobody"}, "cost: "),
        ({"limit": 1, "per": "day", "by": "moon"}, "/with/by"),
        ({"limit": 1, "per": "day", "algorithm": "fixed-window"}, "/with/algorithm"),
        ({"limit": 1, "per": "day", "tiers": [{"match": {}, "limit": 1, "per": "day"}]}, "/with/tiers/0/match"),
        ({"limit": 1, "per": "day", "tiers": [{"match": {"role": "a"}, "limit": 1}]}, "tiers: number 1"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("quota", settings)
