"""Why a request goes to its route, and not to any other: for people, not for the hot path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.hostnames import normal_host, patterns_over
from apigateway.flow.placed_routes import Match, Place, RouteEntry, takes
from apigateway.flow.routing import Router, candidates, preflight_method


@dataclass(frozen=True, slots=True)
class Considered:
    """One route, and why it was not the one; "" for the one that was.

    why_not: "host", "path", "version v1", "method", "header x-beta", "query q", "when ...", "less specific
    than NAME".
    """

    api: str
    route: str
    why_not: str


def explain(router: Router, segments: Sequence[str], exchange: Exchange) -> list[Considered]:
    """Every route of the table: first those that host and path lead to, as preferred, then the rest by
    name."""
    found = router.match(segments, exchange)
    chosen = found.entry if isinstance(found, Match) else None
    reasons: dict[int, Considered] = {}
    for place in candidates(router.hosts.over(exchange.request.authority), segments):
        entry = place.entry
        why = "" if entry is chosen else _why_not(place, chosen, exchange)
        reasons.setdefault(id(entry), Considered(entry.api.name, entry.route.name, why))
    rest = [entry for entry in router.entries if id(entry) not in reasons]
    rest.sort(key=lambda entry: (entry.api.name, entry.route.name))
    return [*reasons.values(), *(_elsewhere(router, entry, segments, exchange) for entry in rest)]


def _why_not(place: Place, chosen: RouteEntry | None, exchange: Exchange) -> str:
    if not _takes(place.entry, exchange):
        return "method"
    for check in place.checks:
        try:
            if not check.holds(exchange):
                return check.about
        except Fault as fault:
            return f"{check.about} failed: {fault.private or fault.public}"
    return "" if chosen is None else f"less specific than {chosen.route.name}"


def _takes(entry: RouteEntry, exchange: Exchange) -> bool:
    method = exchange.request.method
    wanted = preflight_method(exchange.request) if method == b"OPTIONS" else b""
    return takes(entry.methods, method) or bool(wanted and takes(entry.methods, wanted))


def _elsewhere(router: Router, entry: RouteEntry, segments: Sequence[str], exchange: Exchange) -> Considered:
    authority = exchange.request.authority
    if not set(patterns_over(normal_host(authority.decode("latin-1")))) & set(entry.hosts):
        why = "host"
    elif _other_version(router, entry, segments, authority):
        why = f"version {entry.api.api_version}"
    else:
        why = "path"
    return Considered(entry.api.name, entry.route.name, why)


def _other_version(router: Router, entry: RouteEntry, segments: Sequence[str], authority: bytes) -> bool:
    """Whether the path would lead to the route if it named the route's version, in place of another or in
    front."""
    versioning, version = entry.api.versioning, entry.api.api_version
    if versioning is None or version is None or versioning.source != "path":
        return False
    roots = router.hosts.over(authority)
    named = ([version, *segments[1:]], [version, *segments])
    return any(place.entry is entry for path in named for place in candidates(roots, path))
