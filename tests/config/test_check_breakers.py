"""What is refused, and warned of, in breakers, passive health, panic and slow start."""

from __future__ import annotations

from typing import Any

import pytest

from apigateway.config.check import check
from apigateway.config.load import configuration_of
from apigateway.config.revision import plain
from apigateway.errors import ConfigurationRefused

from .builders import changed

UPSTREAM = "/upstreams/0"


def upstream(**more: Any) -> dict[str, Any]:
    targets = [{"url": "http://one.test"}, {"url": "http://two.test"}]
    return changed(UPSTREAM, {"name": "users", "targets": targets, **more})


def passive(**settings: Any) -> dict[str, Any]:
    return upstream(health={"passive": settings})


@pytest.mark.parametrize(
    "fine",
    [
        upstream(breaker={}),
        upstream(breaker={"window": "10s", "failures": 5, "open_for": "30s", "half_open_probes": 1}),
        upstream(breaker={"percent": "50%", "minimum": 10}, balance="ewma", slow_start="30s", panic_threshold="50%"),
        upstream(breaker={}, health={"passive": {"percent": "50%", "minimum": 10}}),
        passive(percent="20%", window="1m", longest="5m", max_aside="10%"),
        upstream(retry={"budget": "0%", "budget_minimum": 0}),
    ],
)
def test_nothing_is_wrong(fine: dict[str, Any]) -> None:
    configuration = configuration_of(fine)
    assert check(configuration) == ()
    assert configuration_of(plain(configuration, defaults=False)) == configuration


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        (upstream(breaker={"failures": 0}), "/breaker/failures"),
        (upstream(breaker={"failures": -1}), "/breaker/failures"),
        (upstream(breaker={"failures": 5.5}), "/breaker/failures"),
        (upstream(breaker={"percent": "0%"}), "/breaker/percent"),
        (upstream(breaker={"percent": "101%"}), "/breaker/percent"),
        (upstream(breaker={"percent": 50}), "/breaker/percent"),
        (upstream(breaker={"window": "0s"}), "/breaker/window"),
        (upstream(breaker={"open_for": "0s"}), "/breaker/open_for"),
        (upstream(breaker={"open_for": 30}), "/breaker/open_for"),
        (upstream(breaker={"half_open_probes": 0}), "/breaker/half_open_probes"),
        (upstream(breaker={"statuses": [99]}), "/breaker/statuses/0"),
        (upstream(breaker={"probes": 1}), "/breaker/probes"),
        (passive(percent="0%"), "/health/passive/percent"),
        (passive(max_aside="0%"), "/health/passive/max_aside"),
        (passive(minimum=0), "/health/passive/minimum"),
        (upstream(panic_threshold="101%"), "/panic_threshold"),
        (upstream(slow_start="0s"), "/slow_start"),
        (upstream(retry={"budget_minimum": -1}), "/retry/budget_minimum"),
        (upstream(balance="peak-ewma"), "/balance"),
    ],
)
def test_what_the_model_refuses(value: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        configuration_of(value)
    assert [one.pointer for one in refused.value.problems] == [UPSTREAM + pointer]


@pytest.mark.parametrize(
    ("value", "pointer", "message", "warning"),
    [
        (upstream(breaker={"failures": 5, "percent": "50%"}), "/breaker", "one of them, not both", False),
        (upstream(breaker={"minimum": 5}), "/breaker/minimum", "without percent", True),
        (passive(minimum=5), "/health/passive/minimum", "without percent", True),
        (upstream(breaker={}, health={"passive": {"failures": 3}}), "/health/passive/failures", "breaker's", True),
        (upstream(slow_start="30s", balance="consistent-hash"), "/slow_start", "has no effect", True),
        (upstream(slow_start="30s", balance="least-recently-used"), "/slow_start", "has no effect", True),
    ],
)
def test_what_is_wrong_as_a_whole(value: dict[str, Any], pointer: str, message: str, warning: bool) -> None:
    found = check(configuration_of(value))
    assert [(one.pointer, one.warning) for one in found if message in one.message] == [(UPSTREAM + pointer, warning)]
