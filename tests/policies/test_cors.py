"""cors: the Fetch standard's protocol, RC-O24 among it."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import UNAUTHENTICATED, Fault
from apigateway.flow.outcome import Reply

APP = {"origins": ["https://app.test"], "methods": ["GET", "PUT"], "headers": ["authorization"]}
PREFLIGHT = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "authorization")]


def preflight(policy, exchange, origin, extra=()) -> Reply:
    made = exchange(method="OPTIONS", headers=[("Origin", origin), *PREFLIGHT, *extra])
    reply = policy.on_request(made)
    assert isinstance(reply, Reply) and reply.status == 204 and reply.body == b""
    return reply


def test_a_preflight_is_answered_here(bench, exchange):
    reply = preflight(bench.policy("cors", {**APP, "max_age": "1h"}), exchange, "https://app.test")
    assert reply.headers.lines == [
        (b"access-control-allow-origin", b"https://app.test"),
        (b"access-control-allow-methods", b"GET, PUT"),
        (b"access-control-allow-headers", b"authorization"),
        (b"access-control-max-age", b"3600"),
        (b"vary", b"Origin"),
    ]


def test_its_own_response_hook_leaves_a_preflight_as_it_is(bench, exchange):
    policy = bench.policy("cors", {**APP, "credentials": True})
    reply = preflight(policy, exchange, "https://app.test")
    made = exchange(method="OPTIONS", headers=[("Origin", "https://app.test"), *PREFLIGHT], answer=[])
    made.response.headers = reply.headers.copy()
    policy.on_response(made)
    assert sorted(made.response.headers.lines) == sorted(reply.headers.lines)


def test_a_stranger_gets_no_allow_fields(bench, exchange):
    reply = preflight(bench.policy("cors", APP), exchange, "https://evil.test")
    assert reply.headers.lines == [(b"vary", b"Origin")]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", []),
        ("OPTIONS", [("Origin", "https://app.test")]),
        ("OPTIONS", [("Access-Control-Request-Method", "PUT")]),
        ("PUT", [("Origin", "https://app.test"), ("Access-Control-Request-Method", "PUT")]),
    ],
)
def test_what_is_no_preflight_goes_on(bench, exchange, method, headers):
    assert bench.policy("cors", APP).on_request(exchange(method=method, headers=headers)) is None


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (["https://app.test"], "https://app.test", True),
        (["https://app.test"], "http://app.test", False),
        (["https://app.test"], "https://app.test:8443", False),
        (["https://app.test"], "https://APP.test", False),
        (["https://app.test"], "https://app.test.evil.test", False),
        (["https://app.test:8443"], "https://app.test:8443", True),
        (["https://*.app.test"], "https://a.app.test", True),
        (["https://*.app.test"], "https://a.b.app.test", True),
        (["https://*.app.test"], "https://app.test", False),
        (["https://*.app.test"], "https://.app.test", False),
        (["https://*.app.test"], "https://evil.test/.app.test", False),
        (["https://*.app.test"], "https://evil.test#.app.test", False),
        (["https://*.app.test"], "https://user@a.app.test", False),
        (["https://*.app.test"], "https://evilapp.test", False),
        (["https://*.app.test:8443"], "https://a.app.test:8443", True),
        (["https://*.app.test:8443"], "https://a.app.test", False),
        (["https://app.test"], "null", False),
        (["null"], "null", True),
    ],
)
def test_which_origins_are_allowed(bench, exchange, origins, origin, allowed):
    policy = bench.policy("cors", {"origins": origins})
    made = exchange(headers=[("Origin", origin)], answer=[])
    policy.on_response(made)
    assert made.response.headers.get(b"access-control-allow-origin") == (origin.encode() if allowed else None)
    assert made.response.headers.get_all(b"vary") == [b"Origin"]


def test_there_is_one_allow_origin_whatever_the_upstream_says(bench, exchange):
    policy = bench.policy("cors", {**APP, "expose": ["X-Total"], "credentials": True})
    upstream = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Expose-Headers", "X-Db"),
        ("X-Total", "7"),
        ("Access-Control-Allow-Credentials", "true"),
    ]
    made = exchange(headers=[("Origin", "https://app.test")], answer=upstream)
    policy.on_response(made)
    headers = made.response.headers
    assert headers.get_all(b"access-control-allow-origin") == [b"https://app.test"]
    assert headers.get_all(b"access-control-allow-credentials") == [b"true"]
    assert headers.get_all(b"access-control-expose-headers") == [b"X-Total"]
    assert headers.get(b"x-total") == b"7"
    stranger = exchange(headers=[("Origin", "https://evil.test")], answer=upstream)
    policy.on_response(stranger)
    assert stranger.response.headers.lines == [(b"x-total", b"7"), (b"vary", b"Origin")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"Origin"]),
        ([("Vary", "Accept")], [b"Accept", b"Origin"]),
        ([("Vary", "accept, ORIGIN")], [b"accept, ORIGIN"]),
        ([("Vary", "*")], [b"*"]),
        ([("Vary", "Original")], [b"Original", b"Origin"]),
    ],
)
def test_vary_names_origin_once(bench, exchange, before, after):
    made = exchange(answer=before)
    bench.policy("cors", APP).on_response(made)
    assert made.response.headers.get_all(b"vary") == after


def test_open_to_all_needs_no_vary(bench, exchange):
    policy = bench.policy("cors", {"origins": ["*"], "headers": ["*"]})
    made = exchange(headers=[("Origin", "https://any.test")], answer=[])
    policy.on_response(made)
    assert made.response.headers.lines == [(b"access-control-allow-origin", b"*")]
    reply = preflight(policy, exchange, "https://any.test")
    assert reply.headers.get(b"access-control-allow-headers") == b"authorization"


def test_fields_asked_for_are_repeated_only_if_they_are_field_names(bench, exchange):
    policy = bench.policy("cors", {"origins": ["https://app.test"], "headers": ["*"]})
    made = exchange(
        method="OPTIONS",
        headers=[("Origin", "https://app.test"), PREFLIGHT[0], ("Access-Control-Request-Headers", "a, <b>")],
    )
    assert b"access-control-allow-headers" not in policy.on_request(made).headers


def test_faults_can_be_read_by_the_page(bench, exchange):
    made = exchange(
        headers=[("Origin", "https://app.test")], answer=[("WWW-Authenticate", "ApiKey")], status=401
    )
    bench.policy("cors", APP).on_fault(made, Fault(UNAUTHENTICATED))
    assert made.response.headers.get(b"access-control-allow-origin") == b"https://app.test"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, '"origins" is missing'),
        ({"origins": []}, "at least 1"),
        ({"origins": ["*"], "credentials": True}, "every page"),
        ({"origins": ["https://app.test/"]}, "is no origin"),
        ({"origins": ["app.test"]}, "is no origin"),
        ({"origins": ["https://App.test"]}, "is no origin"),
        ({"origins": ["https://*"]}, "is no origin"),
        ({"origins": ["https://a*.test"]}, "is no origin"),
        ({"origins": ["https://app.test:443"]}, "leave :443 out"),
        ({"origins": ["http://app.test:80"]}, "leave :80 out"),
        ({"origins": ["https://app.test"], "methods": ["get"]}, "capitals"),
        ({"origins": ["https://app.test"], "headers": ["a b"]}, "no field name"),
        ({"origins": ["https://app.test"], "expose": ["a\r\nb"]}, "no field name"),
        ({"origins": ["https://app.test"], "max_age": "7d"}, "at most"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("cors", settings)
