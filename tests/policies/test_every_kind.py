"""Every kind that is found keeps its examples and the contract, whatever it does."""

from __future__ import annotations

import pytest

from apigateway.flow.registry import discover
from apigateway.testing import conformance
from apigateway.testing.examples import run_example

REGISTRY = discover()
EXAMPLES = [
    pytest.param(name, example, id=f"{name}: {example.title}")
    for name in REGISTRY.names()
    for example in REGISTRY.get(name).examples
]

# Refuses only what runs beside another, which an example cannot show (see test_concurrency_limit.py).
BESIDE_OTHERS = {"concurrency-limit"}
GUARDS = [name for name in REGISTRY.names() if REGISTRY.kind(name).guards and name not in BESIDE_OTHERS]


def test_all_kinds_load():
    assert REGISTRY.problems == ()
    assert set(REGISTRY.names()) >= {
        "api-key", "client-ban", "concurrency-limit", "cors", "idempotency", "ip-filter", "maintenance", "message-size",
        "mock", "problem-details", "quota", "rate-limit", "redirect", "rewrite-path", "security-headers", "set-headers",
    }


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_holds(name, example):
    assert run_example(name, example, REGISTRY).failures == ()


@pytest.mark.parametrize("name", REGISTRY.names())
def test_a_kind_keeps_the_contract(name):
    assert conformance(REGISTRY.get(name), REGISTRY) == []


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_shows_what_it_refuses(name):
    """And that nothing of it reaches the upstream."""
    calls = [call for example in REGISTRY.get(name).examples for call in example.calls]
    refused = [call for call in calls if call.status is not None and call.status >= 400]
    assert [call for call in refused if call.sent is False]
