"""api-key: who is found, who is refused, and what the upstream gets to see."""

from __future__ import annotations

from hashlib import sha256

import pytest

from apigateway.flow.faults import Fault


def hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()


ACME = {
    "name": "acme",
    "roles": ["partner", "beta"],
    "scopes": ["read", "write"],
    "api_keys": [
        {"sha256": hashed("k1")},
        {"sha256": hashed("schlüssel")},
        {"sha256": hashed("soon"), "expires": "2023-11-14T22:13:21Z"},
    ],
}
OTHER = {"name": "other", "api_keys": [{"sha256": hashed("k2")}]}
TARGET = "/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y"


@pytest.fixture
def guard(bench):
    return lambda settings: bench.policy("api-key", settings, consumers=[ACME, OTHER])


@pytest.mark.parametrize(
    ("settings", "target", "headers"),
    [
        ({}, "/", [("X-API-Key", "k1")]),
        ({"header": "X-Key"}, "/", [("X-Key", "k1")]),
        ({"query": "apikey"}, "/?apikey=k1", []),
        ({"query": "apikey"}, "/?api%6Bey=%6B1", []),
        ({"cookie": "key"}, "/", [("Cookie", "a=1; key=k1")]),
        ({"header": "X-Key", "query": "apikey"}, "/?apikey=k1", []),
        ({"header": "X-Key"}, "/", [("X-Key", "schlüssel")]),
        ({"cookie": "key"}, "/", [("Cookie", "key=schlüssel")]),
        ({"query": "apikey"}, "/?apikey=schl%C3%BCssel", []),
    ],
)
def test_finds_the_consumer(guard, exchange, settings, target, headers):
    made = exchange(target, headers=headers)
    assert guard(settings).on_request(made) is None
    identity = made.identity
    assert (identity.consumer, identity.roles) == ("acme", {"partner", "beta"})
    assert identity.scopes == {"read", "write"}
    assert identity.credential and "k1" not in identity.credential


@pytest.mark.parametrize(
    ("settings", "target", "headers", "status", "public"),
    [
        ({}, "/", [], 401, "required"),
        ({}, "/?apikey=k1", [("Cookie", "key=k1")], 401, "required"),
        ({}, "/", [("X-API-Key", "nope")], 401, "not valid"),
        ({}, "/", [("X-API-Key", "")], 401, "not valid"),
        ({}, "/", [("X-API-Key", hashed("k1"))], 401, "not valid"),
        ({}, "/", [("X-API-Key", "k1"), ("X-API-Key", "k1")], 400, "more than one"),
        ({"query": "apikey"}, "/?apikey=k1&apikey=k2", [], 400, "more than one"),
        ({"header": "X-Key", "query": "apikey"}, "/?apikey=k1", [("X-Key", "k2")], 400, "more than one"),
        ({"anonymous": True}, "/", [("X-API-Key", "nope")], 401, "not valid"),
    ],
)
def test_refuses(guard, exchange, settings, target, headers, status, public):
    made = exchange(target, headers=headers)
    with pytest.raises(Fault) as caught:
        guard(settings).on_request(made)
    fault = caught.value
    assert fault.status == status
    assert public in fault.public
    assert made.identity is None
    challenges = [value for name, value in fault.headers if name == b"www-authenticate"]
    assert challenges == ([b'ApiKey realm="api"'] if status == 401 else [])
    assert "nope" not in fault.public + fault.private


def test_a_key_ends_at_its_moment(guard, bench, exchange):
    policy = guard({})
    policy.on_request(exchange(headers=[("X-API-Key", "soon")]))
    bench.clock.advance(1.0)
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange(headers=[("X-API-Key", "soon")]))
    assert "expired" in caught.value.public
    assert "acme" in caught.value.private


@pytest.mark.parametrize(
    ("settings", "target", "headers", "sent", "lines"),
    [
        ({"header": "X-Key"}, TARGET, [("X-Key", "k1"), ("X-Keep", "1")], TARGET, [(b"x-keep", b"1")]),
        ({"query": "apikey"}, TARGET + "&apikey=k1&z=1", [], TARGET + "&z=1", []),
        ({"query": "apikey"}, "/a?apikey=k1", [], "/a", []),
        ({"query": "apikey"}, "/a?apikey=k1&%7C=%7c", [], "/a?%7C=%7c", []),
        ({"cookie": "key"}, "/", [("Cookie", "a=1; key=k1; b=2")], "/", [(b"cookie", b"a=1; b=2")]),
        ({"cookie": "key"}, "/", [("Cookie", "key=k1")], "/", []),
        ({"hide": False, "query": "apikey"}, "/a?apikey=k1", [], "/a?apikey=k1", []),
    ],
)
def test_hides_the_key_and_nothing_else(guard, exchange, settings, target, headers, sent, lines):
    made = exchange(target, headers=headers)
    guard(settings).on_request(made)
    assert made.request.target.decode() == sent
    assert made.request.headers.lines == lines


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({}, []),
        ({"cookie": "key"}, []),
        ({"query": "k"}, ["k"]),
        ({"query": "k", "header": "X-Key", "hide": False}, ["k"]),
    ],
)
def test_the_logs_are_told_before_any_request_which_pairs_hold_keys(guard, bench, settings, hidden):
    guard(settings)
    assert bench.hidden == hidden


def test_two_keys_whose_hashes_begin_alike_are_two(bench, exchange):
    keys = {"one": "k13051066", "two": "k36814461"}
    assert hashed(keys["one"])[:12] == hashed(keys["two"])[:12]
    consumers = [{"name": name, "api_keys": [{"sha256": hashed(key)}]} for name, key in keys.items()]
    policy = bench.policy("api-key", {"forward": {"consumer": "X-Consumer"}}, consumers=consumers)
    for name, key in keys.items():
        made = exchange(headers=[("X-API-Key", key)])
        policy.on_request(made)
        assert made.identity.consumer == name
        assert made.request.headers.lines == [(b"x-consumer", name.encode())]


LIES = [
    ("X-Consumer-Name", "boss"),
    ("X_Consumer_Name", "boss"),
    ("X-Consumer_Name", "boss"),
    ("X_Roles", "admin"),
]
FORWARD = {"consumer": "X-Consumer-Name", "roles": "X-Roles", "scopes": "X-Scopes"}


def test_tells_the_upstream_and_drops_what_clients_claim(guard, exchange):
    made = exchange(headers=[("X-API-Key", "k1"), *LIES])
    guard({"forward": FORWARD}).on_request(made)
    assert made.request.headers.lines == [
        (b"x-consumer-name", b"acme"),
        (b"x-roles", b"partner,beta"),
        (b"x-scopes", b"read write"),
    ]


def test_claims_cannot_come_behind_the_body_either(guard, exchange):
    made = exchange(headers=[("X-API-Key", "k1")], method="POST", length=None)
    guard({"forward": FORWARD}).on_request(made)
    assert made.request.withheld == {b"x-consumer-name", b"x-roles", b"x-scopes"}


def test_drops_claims_of_anonymous_clients_too(guard, exchange):
    made = exchange(headers=LIES)
    assert guard({"forward": FORWARD, "anonymous": True}).on_request(made) is None
    assert made.identity is None
    assert made.request.headers.lines == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"header": "Host"}, "written by the gateway"),
        ({"header": "X Key"}, "not a lower-case field name"),
        ({"forward": {"consumer": "Content-Length"}}, "written by the gateway"),
        ({"realm": 'a"b'}, "match"),
        ({"query": ""}, "at least 1"),
        ({"headers": "X-Key"}, "did you mean 'header'"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("api-key", settings)
