"""ip-filter: who may call."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import Fault

ALLOW = {"allow": ["198.51.100.7"]}
BOTH = {"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.1.0.0-10.1.0.9"]}


@pytest.mark.parametrize(
    ("settings", "client", "passes"),
    [
        (ALLOW, "198.51.100.7", True),
        (ALLOW, "203.0.113.9", False),
        (ALLOW, "::ffff:198.51.100.7", True),
        (ALLOW, "", False),
        (ALLOW, "garbage", False),
        (BOTH, "10.2.0.1", True),
        (BOTH, "10.1.0.9", False),
        (BOTH, "10.1.0.10", True),
        (BOTH, "2001:db8:ffff::1", True),
        (BOTH, "2001:db9::1", False),
        ({"deny": ["203.0.113.0/24"]}, "203.0.113.9", False),
        ({"deny": ["203.0.113.0/24"]}, "198.51.100.7", True),
        ({"deny": ["203.0.113.0/24"]}, "", False),
        ({"deny": ["203.0.113.0/24"]}, "garbage", False),
        (BOTH, "", False),
        ({"deny": ["::/0", "0.0.0.0/0"]}, "10.0.0.1", False),
    ],
)
def test_who_passes(bench, exchange, settings, client, passes):
    policy = bench.policy("ip-filter", settings)
    made = exchange(client=client, headers=[("X-Forwarded-For", "198.51.100.7")])
    if passes:
        assert policy.on_request(made) is None
        return
    with pytest.raises(Fault) as caught:
        policy.on_request(made)
    assert caught.value.status == 403
    assert client in caught.value.private
    assert not client or client not in caught.value.public


@pytest.mark.parametrize(
    ("settings", "why"),
    [({}, "give allow"), ({"allow": ["10.0.0.0/99"]}, "10.0.0.0/99"), ({"deny": "x"}, "a list")],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("ip-filter", settings)
