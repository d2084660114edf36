"""The places of a service as targets: priorities, weights, names."""

from __future__ import annotations

from collections import Counter

import pytest

from apigateway.config.model import Target, Upstream
from apigateway.flow.balancing import Balancer, TargetStates
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.members import members_of, public_name
from apigateway.flow.retrying import RetryBudget
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import ServiceRecord
from apigateway.ports.memory import SeededRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

NOW = 1000.0
URL = "http+srv://_http._tcp.users.test/v1"


def record(host: str, priority: int = 10, weight: int = 0, port: int = 8080) -> ServiceRecord:
    return ServiceRecord(priority, weight, host, port)


def compiled(*targets: dict[str, object], **more: object) -> CompiledUpstream:
    given = targets or ({"url": URL},)
    settings = Upstream.model_validate({"name": "users", "targets": given, **more})
    return CompiledUpstream(settings, Balancer(settings, TargetStates(), SeededRandom()), RetryBudget())


def picks(upstream: CompiledUpstream, count: int = 1, now: float = NOW) -> Counter[str]:
    exchange = Exchange("1", Request(b"GET", b"/", Headers()), Connection(), "203.0.113.9", 0.0)
    chosen = [upstream.balancer.pick(exchange, now) for _ in range(count)]
    return Counter("nobody" if state is None else state.name for state in chosen)


@pytest.mark.parametrize(
    ("service", "name"),
    [("_http._tcp.users.test", "users.test"), ("users.test.", "users.test"), ("_a._b", "_b"),
     ("_x.y._z.test", "y._z.test")],
)  # fmt: skip
def test_the_name_that_is_shown(service: str, name: str) -> None:
    assert public_name(service) == name


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record("a"), record("b")], {"a:8080": (1, 0), "b:8080": (1, 0)}),
        ([record("a", weight=3), record("b", weight=1), record("c")],
         {"a:8080": (300, 0), "b:8080": (100, 0), "c:8080": (1, 0)}),
        ([record("a", 5), record("b", 1), record("c", 9)], {"b:8080": (1, 0), "a:8080": (1, 1), "c:8080": (1, 2)}),
        ([record("A"), record("a", port=81)], {"a:8080": (1, 0), "a:81": (1, 0)}),
        ([record("a", weight=2), record("a", weight=9)], {"a:8080": (200, 0)}),
        ([record("no/host"), record("u@v"), record("b c"), record("[::1]"), record("fine_1.test")],
         {"fine_1.test:8080": (1, 0)}),
    ],
)  # fmt: skip
def test_records_as_targets(records: list[ServiceRecord], expected: dict[str, tuple[int, int]]) -> None:
    made = members_of(Target.model_validate({"url": URL}), records)
    assert {one.target.name: (one.target.weight, one.tier) for one in made} == expected
    assert all(one.target.url == f"http://{one.target.name}/v1" for one in made)
    assert all(one.target.role == ("primary" if one.tier == 0 else "failover") for one in made)


def test_weights_share_the_traffic_and_follow_the_records() -> None:
    upstream = compiled()
    assert picks(upstream) == {"nobody": 1}
    assert [one.url for one in upstream.balancer.without_places()] == [URL]
    upstream.expand(0, [record("a", weight=7), record("b", weight=3), record("c")])
    assert upstream.balancer.without_places() == []
    counted = picks(upstream, 10_000)
    assert abs(counted["a:8080"] - 7000) <= 100 and abs(counted["b:8080"] - 3000) <= 100
    assert 1 <= counted["c:8080"] <= 100
    upstream.expand(0, [record("a", weight=1), record("b", weight=1)])
    assert picks(upstream, 10) == {"a:8080": 5, "b:8080": 5}
    # Weights that are much smaller hold at once, too.
    upstream.expand(0, [record("a", weight=60_000), record("b", weight=1)])
    picks(upstream, 30_000)
    upstream.expand(0, [record("a"), record("b")])
    assert picks(upstream, 10) == {"a:8080": 5, "b:8080": 5}


def test_a_later_priority_stands_in_by_its_weights() -> None:
    upstream = compiled({"url": URL}, {"url": "http://last.test", "role": "failover"})
    upstream.expand(0, [record("a", 1), record("b", 2, 3), record("c", 2, 1)])
    assert picks(upstream, 4) == {"a:8080": 4}
    by_name = {state.name: state for state in upstream.balancer.states}
    by_name["a:8080"].put_aside(NOW + 10, NOW, "test")
    assert picks(upstream, 8) == {"b:8080": 6, "c:8080": 2}
    for name in ("b:8080", "c:8080"):
        by_name[name].put_aside(NOW + 10, NOW, "test")
    assert picks(upstream, 2) == {"last.test:80": 2}
    assert picks(upstream, 2, NOW + 11) == {"a:8080": 2}


def test_what_is_new_and_what_has_gone() -> None:
    upstream = compiled({"url": URL.replace("http+", "https+"), "name": "svc"}, {"url": "http://plain.test:8080"})
    new, gone = upstream.expand(0, [record("a"), record("plain.test")])
    assert ([state.name for state in new], gone) == (["a:8080"], [])
    (kept,) = new
    place = upstream.places[kept]
    assert (place.hostname, place.port, place.secure) == ("a", 8080, True)
    assert (place.host, place.server_name, place.prefix) == (b"users.test", "users.test", b"/v1")
    assert kept.label == "svc"
    new, gone = upstream.expand(0, [record("b"), record("a", weight=5)])
    assert ([state.name for state in new], gone) == (["b:8080"], [])
    new, gone = upstream.expand(0, [record("b")])
    assert (new, gone) == ([], [kept])
    assert picks(upstream, 4) == {"b:8080": 2, "plain.test:8080": 2}
    upstream.forget(kept)
    assert kept not in upstream.places
    # One that comes again is a new one.
    new, _ = upstream.expand(0, [record("a")])
    assert new[0] is not kept


@pytest.mark.parametrize("balance", ["least-connections", "least-recently-used", "random", "consistent-hash"])
def test_every_balance_takes_places_as_they_come(balance: str) -> None:
    upstream = compiled(balance=balance)
    upstream.expand(0, [record("a")])
    assert picks(upstream, 3) == {"a:8080": 3}
    upstream.expand(0, [record("b")])
    assert picks(upstream, 3) == {"b:8080": 3}
    upstream.expand(0, [])
    assert picks(upstream, 1) == {"nobody": 1}
