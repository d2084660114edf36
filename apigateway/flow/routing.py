"""Which route takes a request.

Preference, the same for every order of creation: host (exact, longest wildcard, any); exact path; longest
prefix by whole segments (a path that ends in {rest*} counts as a prefix, and comes before a plain one of its
length); then, of one path: a named version, a named method, more headers, more query pairs, a `when`, and at
last the names. What a more specific place does not take goes on to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from apigateway.config.model import Api, Route
from apigateway.config.model import Match as MatchSettings
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.exchange import Exchange
from apigateway.flow.hostnames import HostTable
from apigateway.flow.interfaces import ICondition
from apigateway.flow.path_tree import Node, Template, base_length, exact_template, prefix_template, walk
from apigateway.flow.placed_routes import Match, MethodOrder, Methods, Place, Places, RouteEntry, takes
from apigateway.flow.route_checks import PRESENT, Check, HeaderCheck, QueryCheck, VersionCheck, WhenCheck
from apigateway.wire.message import Request

__all__ = [
    "NO_ROUTE", "Match", "NoRoute", "RouteEntry", "Router", "WrongMethod", "candidates", "preflight_method",
]


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Nothing is served at this host and path: 404."""


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """Something is served there, but not by this method: 405. methods: sorted, for Allow (RFC 9110
    15.5.6)."""

    methods: tuple[bytes, ...]

    @property
    def allow(self) -> bytes:
        """The value of the field."""
        return b", ".join(self.methods)


NO_ROUTE: Final = NoRoute()

Root = Node[Places]


class Router:
    """The routes of a revision, built whole. entries: all of them; leaves: every path of every host that
    leads to one.

    compile_condition: makes a condition of CEL (ValueError with the reason). Raises ConfigurationRefused with
    every problem found; pointers are those of a file, "/apis/0/routes/1/match/path".
    """

    def __init__(self, apis: Sequence[Api], compile_condition: Callable[[str], ICondition]) -> None:
        self.entries: list[RouteEntry] = []
        self.hosts: HostTable[Root] = HostTable()
        self._compile = compile_condition
        self._problems: list[Problem] = []
        self.leaves: list[Places] = []
        for number, api in enumerate(apis):
            self._add_api(api, f"/apis/{number}")
        if self._problems:
            raise ConfigurationRefused(self._problems)
        orders: dict[tuple[Methods, ...], MethodOrder] = {}
        for places in self.leaves:
            places.settle(orders)

    def match(self, segments: Sequence[str], exchange: Exchange) -> Match | NoRoute | WrongMethod:
        """The route of an exchange; segments: its path, split and decoded. A Fault of a `when` is not held
        back.

        A CORS preflight goes where the request it asks about would go, so that this route's own CORS settings
        answer it; where nobody would take that one, it is an OPTIONS request like any other (Fetch, 3.2.2).
        """
        request = exchange.request
        roots = self.hosts.over(request.authority)
        method = request.method
        if method == b"OPTIONS":
            wanted = preflight_method(request)
            if wanted:
                found = _search(roots, segments, wanted, exchange)
                if found is not None:
                    return found
        return _search(roots, segments, method, exchange) or self._why_none(roots, segments, exchange)

    def _why_none(
        self, roots: Sequence[Root], segments: Sequence[str], exchange: Exchange
    ) -> NoRoute | WrongMethod:
        method = exchange.request.method
        methods: set[bytes] = set()
        for place in candidates(roots, segments):
            # A `when` is not asked: it may speak of the method.
            checks = [check for check in place.checks if not isinstance(check, WhenCheck)]
            if not takes(place.entry.methods, method) and all(check.holds(exchange) for check in checks):
                methods |= place.entry.methods or set()
        if b"GET" in methods:
            methods.add(b"HEAD")
        methods.discard(method)
        return WrongMethod(tuple(sorted(methods))) if methods else NO_ROUTE

    # ---- building

    def _add_api(self, api: Api, pointer: str) -> None:
        try:
            bases = _bases(api)
            for _, base, _ in bases:
                prefix_template(base, "/")
        except ValueError as error:
            self._problems.append(Problem(f"{pointer}/base_path", str(error)))
            return
        for number, route in enumerate(api.routes):
            self._add_route(api, route, bases, f"{pointer}/routes/{number}/match")

    def _add_route(self, api: Api, route: Route, bases: list[_Base], pointer: str) -> None:
        checks = self._checks(route.match, pointer)
        entry = RouteEntry(api, route, (*_version_checks(bases), *checks))
        self.entries.append(entry)
        for strip, base, version in bases:
            try:
                templates = _templates(base, route.match)
            except ValueError as error:
                place = "path_prefix" if route.match.path is None else "path"
                self._problems.append(Problem(f"{pointer}/{place}", str(error)))
                return
            for template in templates:
                found = Place(entry, template, strip, (*((version,) if version else ()), *checks))
                for host in entry.hosts:
                    self._places(host, template).all += (found,)

    def _places(self, host: str, template: Template) -> Places:
        root = self.hosts.get(host)
        if root is None:
            root = Node()
            self.hosts.put(host, root)
        node = root.reach(template.shape)
        places = node.exact if template.exact else node.prefix
        if places is None:
            places = Places()
            self.leaves.append(places)
            if template.exact:
                node.exact = places
            else:
                node.prefix = places
        return places

    def _checks(self, wanted: MatchSettings, pointer: str) -> tuple[Check, ...]:
        checks: list[Check] = [
            HeaderCheck(_octets(name.lower()), None if value == PRESENT else _octets(value))
            for name, value in sorted(wanted.headers.items())
        ]
        checks += [
            QueryCheck(name, None if value == PRESENT else value)
            for name, value in sorted(wanted.query.items())
        ]
        if wanted.when is not None:
            try:
                checks.append(self._when(wanted.when))
            except ValueError as error:
                self._problems.append(Problem(f"{pointer}/when", str(error)))
        return tuple(checks)

    def _when(self, source: str) -> WhenCheck:
        condition = self._compile(source)
        if condition.needs_request_body:
            raise ValueError("a route is chosen before the body is read: put such a condition in `upstream`")
        if condition.needs_response:
            raise ValueError("a route is chosen before there is a response")
        return WhenCheck(condition, source)


def candidates(roots: Sequence[Root], segments: Sequence[str]) -> Iterator[Place]:
    """Every place that host and path lead to, the preferred first."""
    count = len(segments)
    for root in roots:
        for places in walk(root, segments):
            for place in places.all:
                if place.least <= count:
                    yield place


def preflight_method(request: Request) -> bytes:
    """The method that a CORS preflight asks about; b"" where the request is none (Fetch, 3.2.2)."""
    headers = request.headers
    return (headers.get(b"access-control-request-method") or b"") if b"origin" in headers else b""


def _search(
    roots: Sequence[Root], segments: Sequence[str], method: bytes, exchange: Exchange
) -> Match | None:
    count = len(segments)
    for root in roots:
        for places in walk(root, segments):
            for number in places.by_method.get(method, places.others):
                place = places.all[number]
                if place.least <= count and (not place.checks or _all_hold(place.checks, exchange)):
                    return place.ready or place.match(segments)
    return None


def _all_hold(checks: tuple[Check, ...], exchange: Exchange) -> bool:
    # A loop: `all` over a generator costs twice as much.
    for check in checks:  # noqa: SIM110
        if not check.holds(exchange):
            return False
    return True


# Segments covered, base path, and the check of the version where the path does not name it.
_Base = tuple[int, str, VersionCheck | None]


def _bases(api: Api) -> list[_Base]:
    """Where an Api stands. With the version in the path that is /VERSION/BASE, and /BASE too for the default
    one."""
    versioning, version, base = api.versioning, api.api_version, api.base_path
    length = base_length(base)
    if versioning is None or version is None:
        return [(length, base, None)]
    if versioning.source != "path":
        return [(length, base, VersionCheck(versioning.source, versioning.name, version, versioning.default))]
    named: _Base = (length + 1, f"/{version}{base}", None)
    return [named, (length, base, None)] if versioning.default else [named]


def _version_checks(bases: list[_Base]) -> tuple[VersionCheck, ...]:
    return tuple(version for _, _, version in bases if version is not None)


def _templates(base: str, wanted: MatchSettings) -> list[Template]:
    if wanted.path is None:
        return [prefix_template(base, wanted.path_prefix or "/")]
    return exact_template(base, wanted.path)


def _octets(text: str) -> bytes:
    # As Headers.text reads them; what is outside of ISO 8859-1 is compared as UTF-8, the other form that is
    # sent.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")
