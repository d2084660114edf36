"""Whose usage of quotas is asked for, read from a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apigateway.manager.problems import Refused

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
    texts = {name.decode("utf-8", "replace"): values[-1] for name, values in request.args.items()}
    unknown = sorted(set(texts) - {"step", "key", "most"})
    if unknown:
        raise Refused(422, f"unknown: {', '.join(unknown)}; the query has step, key and most")
    step, key, most = (texts.get(name, b"").decode("utf-8", "replace") for name in ("step", "key", "most"))
    if not step:
        raise Refused(422, "step is needed: its place, as /v1/worker/quotas shows it")
    if most and not (most.isascii() and most.isdecimal() and 0 < int(most) <= MOST_EVER):
        raise Refused(422, f"most is a number from 1 to {MOST_EVER}")
    return UsageCall(step, key, int(most) if most else MOST)
