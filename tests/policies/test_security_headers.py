"""security-headers: on answers and faults, HSTS on HTTPS only."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import FORBIDDEN, Fault


@pytest.mark.parametrize(
    ("scheme", "hsts"), [("https", b"max-age=31536000; includeSubDomains"), ("http", None)]
)
def test_defaults(bench, exchange, scheme, hsts):
    made = exchange(
        scheme=scheme, answer=[("Server", "x"), ("X-Powered-By", "y"), ("X-Frame-Options", "ALLOWALL")]
    )
    bench.policy("security-headers", {}).on_response(made)
    headers = made.response.headers
    assert headers.get(b"strict-transport-security") == hsts
    assert headers.get_all(b"x-frame-options") == [b"DENY"]
    assert headers.get(b"x-content-type-options") == b"nosniff"
    assert headers.get(b"referrer-policy") == b"no-referrer"
    assert b"server" not in headers and b"x-powered-by" not in headers


def test_all_off_leaves_the_answer_alone(bench, exchange):
    settings = {"hsts": None, "nosniff": False, "frame_options": None, "referrer_policy": None, "remove": []}
    made = exchange(scheme="https", answer=[("Server", "x")])
    bench.policy("security-headers", settings).on_response(made)
    assert made.response.headers.lines == [(b"server", b"x")]


def test_what_the_upstream_said_is_kept_on_request(bench, exchange):
    made = exchange(answer=[("X-Frame-Options", "SAMEORIGIN")])
    settings = {"keep_upstream": True, "permissions_policy": "camera=()", "resource_policy": "same-site"}
    bench.policy("security-headers", settings).on_response(made)
    headers = made.response.headers
    assert headers.get_all(b"x-frame-options") == [b"SAMEORIGIN"]
    assert headers.get(b"permissions-policy") == b"camera=()"
    assert headers.get(b"cross-origin-resource-policy") == b"same-site"


def test_faults_carry_them(bench, exchange):
    made = exchange(scheme="https", answer=[])
    policy = bench.policy(
        "security-headers", {"hsts": {"max_age": "1h", "include_subdomains": False, "preload": True}}
    )
    policy.on_fault(made, Fault(FORBIDDEN))
    assert made.response.headers.get(b"strict-transport-security") == b"max-age=3600; preload"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"content_security_policy": "a\nb"}, "control character"),
        ({"frame_options": "MAYBE"}, "expected one of"),
        ({"hsts": {"max_age": 3600}}, "needs its unit"),
        ({"remove": ["Host"]}, "written by the gateway"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("security-headers", settings)
