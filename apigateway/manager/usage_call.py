"""Whose usage of quotas is asked for, read from a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apigateway.manager.problems import Refused
from apigateway.manager.query import texts_of

MOST = 100
MOST_EVER = 1000


@dataclass(frozen=True, slots=True)
class UsageCall:
    """step: the place of a step. key: "" for those that are in use, at most `most`."""

    step: str
    key: str
    most: int


def read_usage(request: Any) -> UsageCall:
    """Of ?step=&key=&most=. Refused: 422."""
    step, key, most = texts_of(request, "step", "key", "most")
    if not step:
        raise Refused(422, "step is needed: its place, as /v1/worker/quotas shows it")
    if most and not (most.isascii() and most.isdecimal() and 0 < int(most) <= MOST_EVER):
        raise Refused(422, f"most is a number from 1 to {MOST_EVER}")
    return UsageCall(step, key, int(most) if most else MOST)
