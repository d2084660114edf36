"""What of steps is refused beside the rest of a file: state that nobody shares, consumers that do not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from files import written

Call = Callable[..., Result]
LIMIT = {"limit": 5, "per": "1m"}
PLACE = "/apis/0/routes/0/pre_flow/request/0/with"


def problems(
    call: Call, folder: Path, policy: str, settings: dict[str, Any], step: dict[str, Any] | None = None, **more: Any
) -> list[tuple[str, str, str]]:
    """Of a file with one step: pointer, message and hint of each error."""
    steps = [{"policy": policy, "with": settings, **(step or {})}]
    route = {"name": "all", "upstream": "one", "pre_flow": {"request": steps}}
    whole = {
        "version": 1,
        "listeners": [{"name": "public", "address": "127.0.0.1:8080"}],
        "upstreams": [{"name": "one", "targets": [{"url": "http://127.0.0.1:9001"}]}],
        "apis": [{"name": "shop", "routes": [route]}],
        **more,
    }
    result = call("check", written(folder, json.dumps(whole)), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == (0 if told["ok"] else 1)
    return [(one["pointer"], one["message"], one["hint"]) for one in told["problems"]]


@pytest.mark.parametrize("workers", [2, "auto"])
@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        ("rate-limit", LIMIT),
        ("rate-limit", {**LIMIT, "scope": "shared"}),
        ("concurrency-limit", {"limit": 5}),
        ("client-ban", {"count": 5}),
        ("idempotency", {}),
    ],
)
def test_shared_scope_is_refused_where_each_worker_has_its_own_memory(
    call: Call, tmp_path: Path, workers: int | str, policy: str, settings: dict[str, Any]
) -> None:
    ((pointer, message, _),) = problems(call, tmp_path, policy, settings, workers=workers)
    assert pointer == PLACE
    assert message.startswith(f'{policy} counts over all workers, and with state "memory:" each has its own')


@pytest.mark.parametrize(
    ("workers", "settings"), [(1, LIMIT), (2, {**LIMIT, "scope": "worker"}), ("auto", {**LIMIT, "scope": "worker"})]
)
def test_one_worker_or_a_scope_of_one_is_fine(
    call: Call, tmp_path: Path, workers: int | str, settings: dict[str, Any]
) -> None:
    assert problems(call, tmp_path, "rate-limit", settings, workers=workers) == []


def test_shared_scope_is_fine_with_a_shared_state(call: Call, tmp_path: Path) -> None:
    assert problems(call, tmp_path, "rate-limit", LIMIT, workers=2, state="redis://127.0.0.1:6379/0") == []


@pytest.mark.parametrize(
    ("policy", "settings", "refused"),
    [("rate-limit", LIMIT, True), ("quota", {"limit": 5, "per": "day"}, True), ("idempotency", {}, True),
     ("rate-limit", {**LIMIT, "scope": "worker"}, False)],
)  # fmt: skip
def test_a_step_waits_long_enough_to_find_the_state_away(
    call: Call, tmp_path: Path, policy: str, settings: dict[str, Any], refused: bool
) -> None:
    state = {"url": "redis://127.0.0.1:6379/0", "timeout": "500ms"}
    told = problems(call, tmp_path, policy, settings, step={"timeout": "1999ms"}, state=state)
    message = (
        f"{policy} may wait for the shared state, whose timeout is 500ms: 2s at least, or on_store_failure would come "
        "too late"
    )
    assert told == ([(PLACE.replace("with", "timeout"), message, "")] if refused else [])
    assert problems(call, tmp_path, policy, settings, step={"timeout": "2s"}, state=state) == []


def test_a_tier_is_of_a_consumer_that_exists(call: Call, tmp_path: Path) -> None:
    settings = {**LIMIT, "tiers": [{"match": {"consumer": name}, **LIMIT} for name in ("acme", "umbrela")]}
    consumers = [{"name": "acme"}, {"name": "umbrella"}]
    assert problems(call, tmp_path, "rate-limit", settings, consumers=consumers) == [
        (PLACE, "there is no consumer 'umbrela'", "umbrella")
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_quotas_are_kept_in_data_dir_or_in_the_shared_state(call: Call, tmp_path: Path, workers: int) -> None:
    quota = {"limit": 5, "per": "day"}
    assert problems(call, tmp_path, "quota", quota, workers=workers) == []
    told = problems(call, tmp_path, "quota", quota, workers=workers, data_dir=None)
    assert told == [
        (PLACE, 'quota has nowhere to keep its counters: set "data_dir", or "state" to a Redis', "")
    ]
    remote = {"data_dir": None, "state": "redis://127.0.0.1:6379/0"}
    assert problems(call, tmp_path, "quota", quota, workers=workers, **remote) == []


def test_a_zone_exists(call: Call, tmp_path: Path) -> None:
    ((pointer, message, _),) = problems(call, tmp_path, "quota", {"limit": 5, "per": "day", "zone": "Europe/Berlon"})
    assert pointer == f"{PLACE}/zone"
    assert "Europe/Berlin" in message
