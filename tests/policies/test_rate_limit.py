"""rate-limit: who shares a counter, what is told, and what happens when the state does not answer."""

from __future__ import annotations

from inspect import isawaitable

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from zope.interface import implementer
from zope.interface.verify import verifyObject

from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import Fault
from apigateway.flow.registry import Registry
from apigateway.ports.interfaces import Decision, IStateStore, Limit, StoreUnavailable
from apigateway.ports.memory import MemoryStore


@implementer(IStateStore)
class RemoteStore:
    """A store that answers when it is told to, or not at all."""

    shared = True

    def __init__(self) -> None:
        self.asked: list[tuple[list[Limit], int]] = []
        self.answers: list[Deferred[Decision]] = []
        self.down = False

    def take(self, limits, cost=1):
        if self.down:
            return fail(StoreUnavailable("connection refused"))
        self.asked.append((list(limits), cost))
        self.answers.append(Deferred())
        return self.answers[-1]

    def peek(self, limits):
        return fail(StoreUnavailable())

    def get(self, key):
        return None

    def put(self, key, value, seconds):
        return None

    def add(self, key, value, seconds):
        return True

    def remove(self, key):
        return None


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


# ---- a store that is somewhere else


@pytest.fixture
def remote(bench):
    bench.store = RemoteStore()
    assert verifyObject(IStateStore, bench.store)
    return bench.store


def test_a_remote_store_is_waited_for(bench, exchange, remote):
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "cost": 1})
    made = exchange(answer=[])
    outcome = policy.on_request(made)
    assert isawaitable(outcome)
    results: list[object] = []
    ensureDeferred(outcome).addBoth(results.append)
    assert results == []
    ((limits, cost),) = remote.asked
    remote.answers[0].callback(MemoryStore(bench.clock).take(limits, cost))
    assert results == [None]
    policy.on_response(made)
    assert made.response.headers.get(b"ratelimit").startswith(b'"consumer";r=0;')


@pytest.mark.parametrize(
    ("choice", "statuses"), [("local", [0, 429]), ("open", [0, 0]), ("closed", [503, 503])]
)
def test_when_the_store_does_not_answer(bench, exchange, remote, choice, statuses):
    remote.down = True
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m", "on_store_failure": choice})
    seen = []
    for _ in range(2):
        results = []
        ensureDeferred(policy.on_request(exchange())).addBoth(results.append)
        seen.append(0 if results == [None] else results[0].value.status)
    assert seen == statuses


def test_a_store_that_fails_at_once_is_the_same(bench, exchange, remote):
    def unavailable(limits, cost=1):
        raise StoreUnavailable("breaker open")

    remote.take = unavailable
    policy = bench.policy("rate-limit", {"limit": 1, "per": "1m"})
    assert passes(policy, exchange())
    assert not passes(policy, exchange())
    closed = bench.policy(
        "rate-limit", {"limit": 1, "per": "1m", "on_store_failure": "closed"}, place="api/two"
    )
    with pytest.raises(Fault) as caught:
        closed.on_request(exchange())
    assert (caught.value.status, dict(caught.value.headers)) == (503, {b"retry-after": b"1"})
    assert "breaker" in caught.value.private and "breaker" not in caught.value.public


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
        ({"limit": 1, "per": "1m", "by": "moon"}, "/with/by"),
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
