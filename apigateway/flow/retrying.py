"""Whether an exchange is tried again, and after how long. Only what cannot be carried out twice by it (RFC
9110 9.2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from apigateway.config.model import Retry
from apigateway.ports.interfaces import IRandom
from apigateway.wire.message import Request

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt failed.

    number: from 1. reason: a word of `retry_on`. sent: an octet of the request may have been taken by the
    target. passed_on: the client was given something of the response. body_whole: the request body can be
    sent from its start. stale: a kept connection was closed by the target before anything of the response
    came; the next attempt has to be on a new connection, so this happens once at most.
    """

    number: int
    reason: str
    sent: bool = True
    passed_on: bool = False
    body_whole: bool = True
    stale: bool = False


class RetryBudget:
    """Exchanges and retries of one upstream that run now; it outlives reloads. Neither number goes below
    0. refused: retries that there was no budget for, so far."""

    __slots__ = ("active", "refused", "retrying")

    def __init__(self) -> None:
        self.active = 0
        self.retrying = 0
        self.refused = 0

    def began(self) -> None:
        """An exchange goes to the upstream."""
        self.active += 1

    def ended(self) -> None:
        """It is over, however it ended."""
        self.active = max(0, self.active - 1)

    def retry_began(self) -> None:
        """One of them is being tried again."""
        self.retrying += 1

    def retry_ended(self) -> None:
        """That attempt is over."""
        self.retrying = max(0, self.retrying - 1)

    def allows(self, share: float, minimum: int) -> bool:
        """Whether one more retry may run; share: of the active exchanges, 0 to 1; minimum: so many always may."""
        return self.retrying + 1 <= max(minimum, share * self.active)


def may_retry(settings: Retry, attempt: Attempt, request: Request, budget: RetryBudget, left: float) -> bool:
    """Whether to try again; left: seconds until the total deadline."""
    why = why_no_retry(settings, attempt, request, budget, left)
    if why == "budget":
        budget.refused += 1
    return not why


def why_no_retry(
    settings: Retry, attempt: Attempt, request: Request, budget: RetryBudget, left: float
) -> str:
    """Why not to try again, for the access log; "" where it may be.

    A request lost with a stale connection was not refused by anybody: it is sent again whatever `attempts`,
    `retry_on` and budget say, so that a target that closes idle connections costs no error.
    """
    if attempt.passed_on:
        return "response begun"
    if left <= 0:
        return "deadline"
    if not attempt.body_whole:
        return "body not kept"
    if attempt.sent and not repeatable(request):
        return "not idempotent"
    return "" if attempt.stale else _over_limits(settings, attempt, budget)


def _over_limits(settings: Retry, attempt: Attempt, budget: RetryBudget) -> str:
    if attempt.number >= settings.attempts:
        return "attempts"
    if attempt.reason not in settings.retry_on:
        return f"not on {attempt.reason}"
    # The budget keeps retries from multiplying what targets are given; what was never sent gives them nothing twice.
    return "" if not attempt.sent or budget.allows(settings.budget, settings.budget_minimum) else "budget"


def repeatable(request: Request) -> bool:
    """Whether sending the request twice means the same as once: by its method (RFC 9110 9.2.2), or because it
    carries an Idempotency-Key, by which the target knows it again."""
    return request.method in IDEMPOTENT or bool(request.headers.get(b"idempotency-key"))


def backoff(number: int, base: float, random: IRandom, *, another: bool) -> float:
    """Seconds to wait before a retry; number: 1 for the first one, base: seconds.

    Nothing before the first where another target is usable: the client waits, and that target did nothing
    wrong. Then the base, doubled with each retry, of which the upper half is left to chance.
    """
    if number <= 1 and another:
        return 0.0
    longest: float = base * 2 ** max(0, number - 2)
    return longest * (0.5 + random.random() / 2)
