"""Routes that can never match, because another one always takes their requests first."""

from __future__ import annotations

from collections.abc import Sequence

from apigateway.flow.placed_routes import Place, Places, RouteEntry
from apigateway.flow.route_checks import Check, HeaderCheck, QueryCheck
from apigateway.flow.routing import Router


def hidden_routes(router: Router) -> list[tuple[RouteEntry, RouteEntry]]:
    """Pairs of a route and the one that stands before it, in order of names.

    A route is reported where at each of its places (host and path) one other route is preferred, takes all of
    its methods, and asks nothing that it does not ask too. What only several routes together hide is not
    found.
    """
    by: dict[int, RouteEntry] = {}
    open_to: set[int] = set()
    entries: dict[int, RouteEntry] = {}
    for leaf in router.leaves:
        for place, hider in _hidden(leaf):
            key = id(place.entry)
            entries[key] = place.entry
            if hider is None:
                open_to.add(key)
            else:
                by.setdefault(key, hider.entry)
    found = [(entries[key], hider) for key, hider in by.items() if key not in open_to]
    return sorted(found, key=lambda pair: (pair[0].api.name, pair[0].route.name))


def _hidden(leaf: Places) -> list[tuple[Place, Place | None]]:
    # Pairs of one leaf are compared each with each: leaves are short, or the configuration is a strange one.
    return [
        (place, next((first for first in leaf.all[:index] if _hides(first, place)), None))
        for index, place in enumerate(leaf.all)
    ]


def _hides(first: Place, second: Place) -> bool:
    if first.entry is second.entry or first.least > second.least:
        return False
    wide, narrow = first.entry.methods, second.entry.methods
    if wide is not None and (narrow is None or not narrow <= wide):
        return False
    return all(_asked_too(check, second.checks) for check in first.checks)


def _asked_too(check: Check, checks: Sequence[Check]) -> bool:
    if isinstance(check, HeaderCheck | QueryCheck) and check.value is None:
        return any(isinstance(other, type(check)) and other.name == check.name for other in checks)
    return any(other.about == check.about and _same(check, other) for other in checks)


def _same(check: Check, other: Check) -> bool:
    # Two compiled conditions are the same where their texts are, which `about` holds.
    return not isinstance(check, HeaderCheck | QueryCheck) or check == other
