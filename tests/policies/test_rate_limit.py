"""rate-limit: who shares a counter, what is told, and what happens when the state does not answer."""

from __future__ import annotations

from inspect import isawaitable

import pytest
from remote_store import RemoteStore
from twisted.internet.defer import ensureDeferred
from zope.interface.verify import verifyObject

from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.registry import Registry
from apigateway.ports.interfaces import IStateStore


def known(made, consumer="", subject=""):
    made.put(IDENTITY, Identity(consumer=consumer, subject=subject))
    return made


def passes(policy, made) -> bool:
    try:
        assert policy.on_request(made) is None
    except Fault as fault:
        assert fault.status == 429
        return False
    return True


@pytest.mark.parametrize(
    ("by", "first", "same", "other"),
    [
        ("ip", {"client": "2001:db8::1"}, {"client": "2001:db8:0:0:ffff::2"}, {"client": "2001:db8:0:1::1"}),
        ("ip", {"client": "::ffff:192.0.2.1"}, {"client": "::ffff:192.0.2.1"}, {"client": "::ffff:192.0.2.2"}),
        ("consumer", {"client": "2001:db8::1"}, {"client": "2001:db8::2"}, {"client": "2001:db8:0:1::1"}),
        ("subject", {"client": "2001:db8::1"}, {"client": "2001:db8::2"}, {"client": "2001:db8:0:1::1"}),
        ("api", {}, {"client": "198.51.100.7"}, None),
        ("ip", {}, {"headers": [("X-Forwarded-For", "9.9.9.9")]}, {"client": "198.51.100.7"}),
        (
            "header:X-Tenant",
            {"headers": [("X-Tenant", "a")]},
            {"headers": [("x-tenant", "a")], "client": "::1"},
            {"headers": [("X-Tenant", "b")]},
        ),
        ("header:X-Tenant", {}, {"client": "::1"}, {"headers": [("X-Tenant", "b")]}),
        (
            "header:X-Tenant",
            {"headers": [("X-Tenant", "a" * 300)]},
            {"headers": [("X-Tenant", "a" * 300)]},
            {"headers": [("X-Tenant", "a" * 299 + "b")]},
        ),
        (
            '{request.query["user"]}',
            {"target": "/?user=ada"},
            {"target": "/x?user=ada"},
            {"target": "/?user=bob"},
        ),
        ("consumer", {}, {}, {"client": "198.51.100.7"}),
    ],
)
def test_who_shares_a_counter(bench, exchange, by, first, same, other):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": by})
    assert passes(policy, exchange(**first))
    assert not passes(policy, exchange(**same))
    if other is not None:
        assert passes(policy, exchange(**other))


@pytest.mark.parametrize(
    ("prefix", "same", "other"),
    [(48, "2001:db8:0:ffff::1", "2001:db8:1::1"), (128, "2001:db8::1", "2001:db8::2")],
)
def test_how_much_of_an_ipv6_address_counts_can_be_set(bench, exchange, prefix, same, other):
    settings = {"limit": 1, "per": "1m", "by": "ip", "ipv6_prefix": prefix}
    policy = bench.policy("rate-limit", settings)
    assert passes(policy, exchange(client="2001:db8::1"))
    assert not passes(policy, exchange(client=same))
    assert passes(policy, exchange(client=other))


def test_an_ipv4_client_is_one_however_its_address_is_written(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": "ip"})
    assert passes(policy, exchange(client="192.0.2.1"))
    assert not passes(policy, exchange(client="::ffff:192.0.2.1"))
    assert not passes(policy, exchange(client="::ffff:c000:201"))


@pytest.mark.parametrize("long", ["a" * 65, "\ud800" * 70], ids=["long", "lone surrogates"])
def test_no_value_is_written_as_the_hash_of_another(bench, exchange, long):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": "subject"})
    counter = policy._limits(policy._counted.rules, known(exchange(), "", long))[0].key
    assert passes(policy, known(exchange(), "", long))
    assert not passes(policy, known(exchange(), "", long))
    for other in (counter.rpartition(":")[2], counter.rpartition("#")[2]):
        assert passes(policy, known(exchange(), "", other))


def test_consumers_and_subjects_are_counted_wherever_they_call_from(bench, exchange):
    by_consumer = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": "consumer"})
    assert passes(by_consumer, known(exchange(), "acme"))
    assert not passes(by_consumer, known(exchange(client="198.51.100.7"), "acme"))
    assert passes(by_consumer, known(exchange(), "other"))
    by_subject = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": "subject"}, place="api/shop/two")
    assert passes(by_subject, known(exchange(), "acme", "ada"))
    assert passes(by_subject, known(exchange(), "acme", "bob"))
    assert not passes(by_subject, known(exchange(client="::1"), "other", "ada"))


def test_counters_belong_to_the_place_and_outlive_a_reload(bench, exchange):
    settings = {"limit": 1, "per": "1m", "by": "ip"}
    assert passes(bench.policy("rate-limit", settings, place="api/shop/limit"), exchange())
    assert passes(bench.policy("rate-limit", settings, place="api/other/limit"), exchange())
    assert not passes(bench.policy("rate-limit", settings, place="api/shop/limit"), exchange())


def test_no_rule_is_taken_from_when_another_refuses(bench, exchange):
    rules = [
        {"limit": 1, "per": "1m", "by": "ip", "name": "each"},
        {"limit": 2, "per": "1m", "by": "api", "name": "all"},
    ]
    policy = bench.policy("rate-limit", {"rules": rules})
    assert passes(policy, exchange())
    for _ in range(5):
        with pytest.raises(Fault) as caught:
            policy.on_request(exchange())
        assert caught.value.members == {"violated-policies": ["each"]}
    assert passes(policy, exchange(client="198.51.100.7"))
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange(client="198.51.100.8"))
    assert caught.value.members == {"violated-policies": ["all"]}


def test_exactly_n_of_m_pass(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 7, "per": "1m", "by": "api"})
    assert sum(passes(policy, exchange()) for _ in range(50)) == 7
    assert [granted for *_, granted in bench.metrics.decisions] == [True] * 7 + [False] * 43
    assert bench.metrics.decisions[0][:3] == ("shop", "read", "rate-limit")


@pytest.mark.parametrize(
    ("settings", "retry_after"),
    [
        ({"limit": 1, "per": "200ms", "algorithm": "token-bucket"}, b"1"),
        ({"limit": 2, "per": "5s", "algorithm": "token-bucket"}, b"3"),
        ({"limit": 1, "per": "1h", "algorithm": "token-bucket"}, b"3600"),
    ],
)
def test_retry_after_is_whole_seconds_rounded_up(bench, exchange, settings, retry_after):
    policy = bench.policy("rate-limit", settings)
    while passes(policy, exchange()):
        pass
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange())
    assert dict(caught.value.headers)[b"retry-after"] == retry_after


def test_who_comes_back_after_retry_after_passes(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 2, "per": "10s", "by": "api"})
    assert passes(policy, exchange()) and passes(policy, exchange())
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange())
    bench.clock.advance(int(dict(caught.value.headers)[b"retry-after"]))
    assert passes(policy, exchange())


BUCKET = {"limit": 3, "per": "1m", "algorithm": "token-bucket"}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            "draft",
            {
                b"ratelimit-policy": b'"consumer";q=3;w=60',
                b"ratelimit": b'"consumer";r=2;t=20',
                b"x-ratelimit-limit": None,
            },
        ),
        (
            "legacy",
            {
                b"ratelimit": None,
                b"x-ratelimit-limit": b"3",
                b"x-ratelimit-remaining": b"2",
                b"x-ratelimit-reset": b"20",
            },
        ),
        ("both", {b"ratelimit": b'"consumer";r=2;t=20', b"x-ratelimit-remaining": b"2"}),
        ("none", {b"ratelimit": None, b"ratelimit-policy": None, b"x-ratelimit-limit": None}),
    ],
)
def test_answers_tell_how_the_limits_stand(bench, exchange, how, expected):
    policy = bench.policy("rate-limit", {**BUCKET, "headers": how})
    made = exchange(answer=[])
    policy.on_request(made)
    policy.on_response(made)
    assert {name: made.response.headers.get(name) for name in expected} == expected


def test_several_rules_and_steps_are_told_in_one_list(bench, exchange):
    rules = [{"limit": 5, "per": "1s", "by": "api"}, {"limit": 3, "per": "1h", "by": "api"}]
    policy = bench.policy("rate-limit", {"rules": rules, "algorithm": "token-bucket", "headers": "both"})
    other = bench.policy("rate-limit", BUCKET, place="gateway/limit")
    made = exchange(answer=[])
    for each in (other, policy):
        each.on_request(made)
        each.on_response(made)
    headers = made.response.headers
    assert headers.get_all(b"ratelimit-policy") == [
        b'"consumer";q=3;w=60',
        b'"api";q=5;w=1, "api-2";q=3;w=3600',
    ]
    assert headers.get_all(b"ratelimit") == [b'"consumer";r=2;t=20', b'"api";r=4;t=1, "api-2";r=2;t=1200']
    assert headers.get(b"x-ratelimit-limit") == b"3"


def test_its_own_fault_tells_it_too(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "algorithm": "token-bucket"})
    policy.on_request(exchange())
    made = exchange(answer=[])
    with pytest.raises(Fault) as caught:
        policy.on_request(made)
    policy.on_fault(made, caught.value)
    assert made.response.headers.get(b"ratelimit") == b'"consumer";r=0;t=60'


def test_an_exchange_it_never_saw_is_let_alone(bench, exchange):
    made = exchange(answer=[])
    assert bench.policy("rate-limit", BUCKET).on_response(made) is None
    assert made.response.headers.lines == []


def tiered(**match):
    return {"limit": 1, "per": "1m", "by": "api", "tiers": [{"match": match, "limit": 2, "per": "1m", "by": "api"}]}


@pytest.mark.parametrize(
    ("match", "of_it", "not_of_it"),
    [
        ({"consumer": "acme"}, {"consumer": "acme"}, {"consumer": "other"}),
        ({"role": "gold"}, {"roles": frozenset({"gold", "x"})}, {"roles": frozenset({"goldx"})}),
        ({"claim": {"plan": "gold"}}, {"claims": {"plan": "gold"}}, {"claims": {"plan": "silver"}}),
        ({"claim": {"plan": "gold"}}, {"claims": {"plan": ["silver", "gold"]}}, {"claims": {}}),
        ({"claim": {"level": 1}}, {"claims": {"level": 1}}, {"claims": {"level": True}}),
        ({"claim": {"paid": True}}, {"claims": {"paid": True}}, {"claims": {"paid": "true"}}),
        (
            {"role": "gold", "claim": {"plan": "x"}},
            {"roles": frozenset({"gold"}), "claims": {"plan": "x"}},
            {"roles": frozenset({"gold"})},
        ),
    ],
)
def test_a_tier_is_told_by_who_calls(bench, exchange, match, of_it, not_of_it):
    policy = bench.policy("rate-limit", tiered(**match))

    def called_by(**identity):
        made = exchange(answer=[])
        if identity:
            made.put(IDENTITY, Identity(**identity))
        granted = passes(policy, made)
        policy.on_response(made)
        return granted, made.response.headers.get(b"ratelimit-policy")

    assert called_by(**of_it) == (True, b'"api";q=2;w=60')
    assert called_by(**not_of_it) == (True, b'"api";q=1;w=60')
    assert called_by() == (False, b'"api";q=1;w=60')
    # Each tier has counters of its own.
    assert [called_by(**of_it)[0] for _ in range(2)] == [True, False]


def test_the_first_tier_that_matches_counts(bench, exchange):
    tiers = [
        {"match": {"role": "a"}, "rules": [{"limit": 1, "per": "1s", "name": "s"}, {"limit": 9, "per": "1h"}]},
        {"match": {"role": "b"}, "limit": 5, "per": "1m"},
    ]
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "tiers": tiers, "algorithm": "token-bucket"})
    made = exchange(answer=[])
    made.put(IDENTITY, Identity(consumer="acme", roles=frozenset("ab")))
    assert passes(policy, made)
    policy.on_response(made)
    assert made.response.headers.get(b"ratelimit-policy") == b'"s";q=1;w=1, "consumer";q=9;w=3600'
    with pytest.raises(Fault) as caught:
        policy.on_request(made)
    assert caught.value.members == {"violated-policies": ["s"]}


def test_a_list_counts_each_combination(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "by": ["header:X-A", "header:X-B"]})

    def called(a, b):
        return passes(policy, exchange(headers=[("X-A", a), ("X-B", b)]))

    assert called("1", "2")
    assert not called("1", "2")
    assert called("1", "3")
    assert called("2", "2")
    # No value is written so that two combinations look the same.
    assert called("1,1:2", "")
    assert called("1", ",1:2")


COST = 'request.method == "POST" ? 5 : int(request.headers["x-cost"])'


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ({"method": "POST"}, 5),
        ({"headers": [("X-Cost", "3")]}, 7),
        ({"headers": [("X-Cost", "0")]}, 10),
        ({"headers": [("X-Cost", "11")]}, None),
        ({"headers": [("X-Cost", "9223372036854775807")]}, None),
    ],
)
def test_a_request_takes_what_it_costs(bench, exchange, how, left):
    policy = bench.policy("rate-limit", {"limit": 10, "per": "1m", "cost": COST, "headers": "legacy"})
    made = exchange(answer=[], **how)
    assert passes(policy, made) == (left is not None)
    policy.on_response(made)
    assert made.response.headers.get(b"x-ratelimit-remaining") == b"%d" % (10 if left is None else left)


@pytest.mark.parametrize("cost", ["-1", "much", ""])
def test_a_cost_that_is_none_lets_nobody_pass(bench, exchange, cost):
    policy = bench.policy("rate-limit", {"limit": 10, "per": "1m", "cost": COST})
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange(headers=[("X-Cost", cost)]))
    assert caught.value.kind is INTERNAL


def test_what_costs_nothing_takes_nothing(bench, exchange):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "cost": 0})
    assert all(passes(policy, exchange()) for _ in range(5))


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window", "token-bucket"])
def test_retry_after_does_not_end_before_the_window_that_is_told(bench, exchange, algorithm):
    """Section 6 of the draft."""
    rules = [
        {"limit": 3, "per": "10s", "by": "api", "name": "burst"},
        {"limit": 2, "per": "1m", "by": "ip", "name": "minute"},
    ]
    policy = bench.policy("rate-limit", {"rules": rules, "algorithm": algorithm})
    for _ in range(2):
        assert passes(policy, exchange())
        bench.clock.advance(1.5)
    made = exchange(answer=[])
    with pytest.raises(Fault) as caught:
        policy.on_request(made)
    policy.on_fault(made, caught.value)
    told = made.response.headers.get(b"ratelimit").split(b", ")[1]
    assert told == b'"minute";r=0;t=' + dict(caught.value.headers)[b"retry-after"]


# ---- a store that is somewhere else


@pytest.fixture
def remote(bench):
    bench.store = RemoteStore(bench.clock)
    assert verifyObject(IStateStore, bench.store)
    return bench.store


def outcome_of(policy, made):
    """0 where the request may go on, else the status of the fault."""
    results: list[object] = []
    try:
        outcome = policy.on_request(made)
    except Fault as fault:
        return fault.status
    if outcome is None:
        return 0
    ensureDeferred(outcome).addBoth(results.append)
    return 0 if results == [None] else results[0].value.status


def test_a_remote_store_is_waited_for(bench, exchange, remote):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "cost": 1})
    made = exchange(answer=[])
    remote.waits = True
    outcome = policy.on_request(made)
    assert isawaitable(outcome)
    results: list[object] = []
    ensureDeferred(outcome).addBoth(results.append)
    assert results == []
    remote.answer()
    assert results == [None]
    policy.on_response(made)
    assert made.response.headers.get(b"ratelimit").startswith(b'"consumer";r=0;')


@pytest.mark.parametrize("down", ["later", "at once"])
@pytest.mark.parametrize(
    ("choice", "statuses", "told"),
    [("local", [0, 429], b"local"), ("open", [0, 0], b"open"), ("closed", [503, 503], None)],
)
def test_when_the_store_does_not_answer(bench, exchange, remote, down, choice, statuses, told):
    remote.down = down
    settings = {"limit": 1, "per": "1m", "on_store_failure": choice, "tell_store_failure": True}
    policy = bench.policy("rate-limit", settings)
    exchanges = [exchange(answer=[]), exchange(answer=[])]
    assert [outcome_of(policy, made) for made in exchanges] == statuses
    assert [made.notes for made in exchanges] == [{"store": choice}] * 2
    assert bench.metrics.failures == [("rate-limit", choice)] * 2
    for made in exchanges:
        policy.on_response(made)
    assert [made.response.headers.get(b"x-store-failure") for made in exchanges] == [told] * 2


def test_it_is_not_told_unless_asked_for(bench, exchange, remote):
    remote.down = "later"
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m"})
    made = exchange(answer=[])
    assert outcome_of(policy, made) == 0
    policy.on_response(made)
    assert made.response.headers.get(b"x-store-failure") is None


def test_closed_says_when_to_come_back_and_not_why(bench, exchange, remote):
    remote.down = "at once"
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "on_store_failure": "closed"})
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange())
    assert (caught.value.status, dict(caught.value.headers)) == (503, {b"retry-after": b"1"})
    assert "circuit" in caught.value.private and "circuit" not in caught.value.public


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window", "token-bucket"])
def test_no_burst_when_the_store_comes_back(bench, exchange, remote, algorithm):
    """It may have lost its counters, and never counted what passed without it."""
    policy = bench.policy("rate-limit", {"limit": 5, "per": "1m", "algorithm": algorithm})
    remote.down = "later"
    assert [outcome_of(policy, exchange()) for _ in range(3)] == [0] * 3
    remote.down = ""
    assert [outcome_of(policy, exchange()) for _ in range(4)] == [0, 0, 429, 429]
    # Somebody else has none of it.
    assert outcome_of(policy, exchange(client="198.51.100.7")) == 0
    # What the shared state refused is not held against the caller here.
    bench.clock.advance(121.0)
    asked = len(remote.named("take"))
    assert [outcome_of(policy, exchange()) for _ in range(6)] == [0] * 5 + [429]
    assert len(remote.named("take")) == asked + 6


def test_what_passed_without_the_store_is_remembered_over_a_reload(bench, exchange, remote):
    settings = {"limit": 2, "per": "1m"}
    remote.down = "at once"
    assert outcome_of(bench.policy("rate-limit", settings), exchange()) == 0
    remote.down = ""
    policy = bench.policy("rate-limit", settings)
    assert [outcome_of(policy, exchange()) for _ in range(2)] == [0, 429]


def test_those_that_wait_at_once_do_not_pass_together_after_it(bench, exchange, remote):
    policy = bench.policy("rate-limit", {"limit": 3, "per": "1m"})
    remote.down = "later"
    assert outcome_of(policy, exchange()) == 0
    remote.down, remote.waits = "", True
    results: list[object] = []
    for _ in range(4):
        ensureDeferred(policy.on_request(exchange())).addBoth(results.append)
    remote.answer()
    assert [result is None for result in results] == [True, True, False, False]


def test_scope_worker_never_asks_the_shared_store(bench, exchange, remote):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "scope": "worker"})
    assert passes(policy, exchange())
    assert not passes(policy, exchange())
    assert remote.asked == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "give limit and per"),
        ({"limit": 1}, "give limit and per"),
        ({"limit": 1, "per": "1m", "rules": [{"limit": 1, "per": "1m"}]}, "not both"),
        ({"limit": 1, "per": "1m", "cost": 2}, "no request could ever pass"),
        ({"limit": 0, "per": "1m"}, "/with/limit"),
        ({"limit": 1, "per": 60}, "needs its unit"),
        ({"limit": 1, "per": "1m", "by": "moon"}, "/with/by: expected api, consumer"),
        ({"limit": 1, "per": "1m", "by": ["ip", "moon"]}, "/with/by/1: expected api, consumer"),
        ({"limit": 1, "per": "1m", "by": []}, "/with/by"),
        ({"limit": 1, "per": "1m", "by": "header:X-Forwarded-For"}, "'X-Forwarded-For' does not reach a policy"),
        ({"limit": 1, "per": "1m", "by": ["api", "header:x_real_ip"]}, "'x_real_ip' does not reach"),
        ({"limit": 1, "per": "1m", "cost": -1}, "/with/cost: has to be at least 0"),
        ({"limit": 1, "per": "1m", "cost": 1.5}, "/with/cost"),
        ({"limit": 1, "per": "1m", "cost": "request.nothing"}, "cost: "),
        ({"limit": 1, "per": "1m", "cost": "request.method"}, "cost: gives str, not a whole number"),
        ({"limit": 1, "per": "1m", "cost": "true"}, "cost: gives bool, not a whole number"),
        ({"limit": 1, "per": "1m", "cost": "size(request.json.a)"}, "cost: the body"),
        ({"limit": 1, "per": "1m", "algorithm": ["fixed-window", "token-bucket"]}, "/with/algorithm"),
        ({"limit": 1, "per": "1m", "rules": [{"limit": 1, "per": "1m", "algorithm": "x"}]}, "/rules/0/algorithm"),
        ({"limit": 1, "per": "1m", "tiers": [{"match": {}, "limit": 1, "per": "1m"}]}, "/with/tiers/0/match"),
        ({"limit": 1, "per": "1m", "tiers": [{"match": {"plan": "x"}, "limit": 1, "per": "1m"}]}, "match/plan"),
        ({"limit": 1, "per": "1m", "tiers": [{"match": {"role": "x"}}]}, "tiers: number 1: give limit and per"),
        ({"limit": 1, "per": "1m", "tiers": [{"match": {"role": "x"}, "limit": 0, "per": "1m"}]}, "tiers/0/limit"),
        ({"limit": 9, "per": "1m", "cost": 2, "tiers": [{"match": {"role": "x"}, "limit": 1, "per": "1m"}]},
         "no request could ever pass"),
        ({"limit": 9, "per": "1m", "tiers": [{"match": {"role": "x"}, "limit": 1, "per": "1m", "name": "a"},
                                             {"match": {"role": "y"}, "limit": 1, "per": "1m", "name": "a"}]},
         "tiers: two of them have one name"),
        ({"limit": 1, "per": "1m", "on_store_failure": "wait"}, "/with/on_store_failure"),
        ({"limit": 1, "per": "1m", "by": "{client.nobody}"}, "nobody"),
        (
            {"rules": [{"limit": 1, "per": "1m", "name": "a"}, {"limit": 1, "per": "1m", "name": "a"}]},
            "one name",
        ),
        ({"rules": [{"limit": 1, "per": "1m", "bye": "ip"}]}, "/with/rules/0/bye"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("rate-limit", settings)


def test_all_wrong_settings_are_told_at_once(registry: Registry):
    settings = {"limit": "many", "per": "soon", "algoritm": "x", "rules": [{"limit": 0, "per": "1m"}]}
    config, problems = registry.settings("rate-limit", settings, "/apis/0/pre_flow/request/1/with")
    assert config is None
    pointers = {
        problem.pointer.removeprefix("/apis/0/pre_flow/request/1/with"): problem.hint for problem in problems
    }
    assert pointers == {"/limit": "", "/per": "", "/algoritm": "algorithm", "/rules/0/limit": ""}
