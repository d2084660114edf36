"""Walks the hooks of a plan. A hook is a plain call; a Deferred exists only after one returned an awaitable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apigateway.flow.exchange import Exchange
from apigateway.flow.steps import Hook, Jump


def run(hooks: Sequence[Hook], exchange: Exchange, index: int) -> tuple[int, Any]:
    """Call hooks from `index` on until one has something to say.

    Returns (index of that hook, its outcome): a Reply, an awaitable, a body need, or the exception it raised; or
    (len(hooks), None) when all went through. A Jump goes on there (a gate that did not hold).
    """
    count = len(hooks)
    while index < count:
        try:
            outcome = hooks[index](exchange)
        except Exception as error:
            return index, error
        if outcome is None:
            index += 1
        elif outcome.__class__ is Jump:
            index = outcome
        else:
            return index, outcome
    return count, None
