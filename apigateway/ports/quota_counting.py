"""What every store of quotas has in common: in which window it is, and what that makes of a request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from apigateway.ports.interfaces import Decision, Quota, Standing


class Window(NamedTuple):
    """A window of a counter; begins 0.0 and ends inf: it is never renewed."""

    key: str
    begins: float
    ends: float


def window_at(quota: Quota, now: float) -> Window:
    """The window that is at `now` (wall seconds). Before the first edge it is the first window, and after the last one
    the last: a clock that is not quite that of who worked the edges out must not refuse anything."""
    edges = quota.edges
    if len(edges) < 2:
        return Window(quota.key, 0.0, inf)
    index = min(max(bisect_right(edges, now), 1), len(edges) - 1)
    return Window(quota.key, edges[index - 1], edges[index])


def decide(
    quotas: Sequence[Quota], windows: Sequence[Window], used: Sequence[int], cost: int, now: float
) -> Decision:
    """Whether `cost` may be taken from every quota, and how each stands then. A cost of 0 always may."""
    granted = not cost or all(units + cost <= quota.limit for quota, units in zip(quotas, used, strict=True))
    taken = cost if granted else 0
    standings = []
    for quota, window, units in zip(quotas, windows, used, strict=True):
        left = max(0.0, window.ends - now)
        refused = bool(cost) and units + cost > quota.limit
        # A cost over the limit itself is refused in the next window, too.
        wait = (inf if cost > quota.limit else left) if refused else 0.0
        standings.append(Standing(max(0, quota.limit - units - taken), left, wait))
    return Decision(granted, tuple(standings))
