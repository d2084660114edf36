"""Whether an exchange is tried again, and after how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from zope.interface import implementer

from apigateway.config.model import Retry
from apigateway.flow.retrying import Attempt, RetryBudget, backoff, may_retry, repeatable, why_no_retry
from apigateway.ports.interfaces import IRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

SETTINGS = Retry(attempts=3, retry_on=("connect-failure", "reset-before-response", "502", "timeout"))
RESET = Attempt(1, "reset-before-response")


@implementer(IRandom)
class FixedRandom:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def token(self, octets: int) -> bytes:
        return bytes(octets)


def request(method: str = "GET", key: str | None = None) -> Request:
    lines = [] if key is None else [(b"idempotency-key", key.encode())]
    return Request(method.encode(), b"/", Headers(lines))


def budget(active: int = 1, retrying: int = 0) -> RetryBudget:
    one = RetryBudget()
    for _ in range(active):
        one.began()
    for _ in range(retrying):
        one.retry_began()
    return one


def why(
    attempt: Attempt, method: str = "GET", key: str | None = None, left: float = 10.0, **running: int
) -> str:
    return why_no_retry(SETTINGS, attempt, request(method, key), budget(**running), left)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
@pytest.mark.parametrize("reason", ["connect-failure", "reset-before-response", "502", "timeout"])
def test_idempotent_methods_are_tried_again(method: str, reason: str) -> None:
    assert why(Attempt(1, reason), method) == ""


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "QUERYX", "get"])
@pytest.mark.parametrize("reason", ["reset-before-response", "502", "timeout"])
def test_others_are_not_once_sent(method: str, reason: str) -> None:
    """Faults 20 and 23, RC-O11: the client gets the error and the target has seen one request."""
    assert why(Attempt(1, reason), method) == "not idempotent"
    assert why(Attempt(1, reason, stale=True), method) == "not idempotent"
    assert why(Attempt(1, reason), method, key="8e03978e") == ""
    assert why(Attempt(1, reason), method, key="") == "not idempotent"


def test_what_was_not_sent_is_tried_again_by_any_method() -> None:
    assert why(Attempt(1, "connect-failure", sent=False), "POST") == ""
    assert why(Attempt(1, "reset-before-response", sent=False, stale=True), "POST") == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"number": 2}, ""),
        ({"number": 3}, "attempts"),
        ({"reason": "503"}, "not on 503"),
        ({"reason": "no-such-word"}, "not on no-such-word"),
        ({"passed_on": True}, "response begun"),
        ({"body_whole": False}, "body not kept"),
    ],
)
def test_limits(change: dict[str, Any], reason: str) -> None:
    assert why(replace(RESET, **change)) == reason


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_never_past_the_deadline(left: float) -> None:
    assert why(RESET, left=left) == "deadline"
    assert why(replace(RESET, stale=True), left=left) == "deadline"


@pytest.mark.parametrize(
    ("active", "retrying", "reason"),
    [
        (1, 0, ""), (1, 2, ""), (1, 3, "budget"), (15, 3, "budget"), (19, 3, "budget"), (20, 3, ""),
        (100, 19, ""), (100, 20, "budget"),
    ],
)
def test_the_budget_is_a_share_of_what_is_active(active: int, retrying: int, reason: str) -> None:
    assert why(RESET, active=active, retrying=retrying) == reason


def test_a_budget_of_nothing_still_allows_three() -> None:
    settings = Retry.model_validate({"budget": "0%"})
    assert may_retry(settings, RESET, request(), budget(1000, 2), 1.0)
    assert not may_retry(settings, RESET, request(), budget(1000, 3), 1.0)


def test_a_stale_connection_costs_no_error() -> None:
    """Fault 23: whatever attempts, retry_on and budget say, since nobody has refused the request."""
    settings = Retry(attempts=1, retry_on=())
    stale = replace(RESET, stale=True)
    assert may_retry(settings, stale, request(), budget(1, 3), 1.0)
    assert not may_retry(settings, RESET, request(), budget(), 1.0)
    for change in (replace(stale, passed_on=True), replace(stale, body_whole=False)):
        assert not may_retry(settings, change, request(), budget(), 1.0)


def test_numbers_of_a_budget_are_never_below_nothing() -> None:
    one = budget(2, 1)
    for _ in range(3):
        one.ended()
        one.retry_ended()
    assert (one.active, one.retrying) == (0, 0)


def test_repeatable() -> None:
    assert repeatable(request("PUT"))
    assert not repeatable(request("POST"))
    assert repeatable(request("POST", "k"))


@pytest.mark.parametrize(
    ("number", "another", "chance", "seconds"),
    [
        (1, True, 0.9, 0.0),
        (1, False, 0.0, 0.0125),
        (2, True, 0.0, 0.0125),
        (2, False, 1.0, 0.025),
        (3, True, 0.5, 0.0375),
        (5, True, 1.0, 0.2),
    ],
)
def test_backoff(number: int, another: bool, chance: float, seconds: float) -> None:
    assert backoff(number, 0.025, FixedRandom(chance), another=another) == pytest.approx(seconds)
