"""Routes where they stand: at paths of hosts, sorted by preference, ready to give a match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from apigateway.config.model import Api, Route
from apigateway.flow.hostnames import ANY, normal_host
from apigateway.flow.path_tree import Template
from apigateway.flow.route_checks import Check, VersionCheck

_NO_PARAMS: Final[Mapping[str, str]] = {}


# Those of a route; None: any.
Methods = frozenset[bytes] | None


class RouteEntry:
    """A route of the table. plan: whatever its owner attaches (the compiled Plan); every match gives it back.

    methods: those it takes, None for any. checks: what else it asks, in the order of the questions.
    """

    __slots__ = ("api", "checks", "hosts", "methods", "plan", "route")

    def __init__(self, api: Api, route: Route, checks: tuple[Check, ...]) -> None:
        self.api = api
        self.route = route
        self.hosts = tuple(_pattern(host) for host in api.hosts) or (ANY,)
        self.methods: Methods = frozenset(name.encode("ascii") for name in route.match.methods) or None
        self.checks = checks
        self.plan: Any = None

    def __repr__(self) -> str:
        return f"RouteEntry({self.api.name}/{self.route.name})"


class Match:
    """The route of a request. params: path parameters, decoded. strip: segments that the base path covers
    (with the version where the path names it); see path_tree.strip_prefix."""

    __slots__ = ("entry", "params", "strip")

    def __init__(self, entry: RouteEntry, params: Mapping[str, str], strip: int) -> None:
        self.entry = entry
        self.params = params
        self.strip = strip

    @property
    def api(self) -> Api:
        return self.entry.api

    @property
    def route(self) -> Route:
        return self.entry.route

    @property
    def plan(self) -> Any:
        return self.entry.plan


class Place:
    """A route at one path: an entry has two where its base path is a path too, or its version may be left
    out."""

    __slots__ = ("checks", "entry", "least", "names", "ready", "strip", "tail")

    def __init__(self, entry: RouteEntry, template: Template, strip: int, checks: tuple[Check, ...]) -> None:
        self.entry = entry
        self.strip = strip
        self.checks = checks
        self.names = template.names
        self.tail = template.tail
        self.least = len(template.shape) + (1 if template.tail else 0)
        # Without parameters every match is the same one, so it is made once.
        self.ready = None if template.names or template.tail else Match(entry, _NO_PARAMS, strip)

    def match(self, segments: Sequence[str]) -> Match:
        """The match of a path that leads here; the segments of a tail are joined by "/"."""
        if self.ready is not None:
            return self.ready
        params = {name: segments[place] for name, place in self.names}
        if self.tail:
            params[self.tail] = "/".join(segments[self.least - 1 :])
        return Match(self.entry, params, self.strip)

    def rank(self) -> tuple[object, ...]:
        """Less is preferred, of places at one path."""
        wanted = self.entry.route.match
        return (
            not self.tail,
            not any(isinstance(check, VersionCheck) for check in self.checks),
            not wanted.methods,
            -len(wanted.headers),
            -len(wanted.query),
            wanted.when is None,
            self.entry.route.name,
            self.entry.api.name,
        )


class MethodOrder:
    """Which of several places take a method, as numbers, the preferred first.

    Paths with the same methods share one: with many routes the time of a match is that of memory seen for the
    first time, and this is the part of it that can be seen before.
    """

    __slots__ = ("by_method", "others")

    def __init__(self, methods: Sequence[Methods]) -> None:
        named = {method for one in methods for method in one or ()}
        if b"GET" in named:
            named.add(b"HEAD")
        self.by_method = {method: _taking(method, methods) for method in named}
        self.others = tuple(number for number, one in enumerate(methods) if one is None)


def _taking(method: bytes, methods: Sequence[Methods]) -> tuple[int, ...]:
    numbers = [number for number, one in enumerate(methods) if takes(one, method)]
    if method == b"HEAD":
        numbers.sort(key=lambda number: b"HEAD" not in (methods[number] or ()))
    return tuple(numbers)


class Places:
    """The places at one path of one host, in order of preference."""

    __slots__ = ("all", "by_method", "others")

    def __init__(self) -> None:
        self.all: tuple[Place, ...] = ()
        self.by_method: Mapping[bytes, tuple[int, ...]] = {}
        self.others: tuple[int, ...] = ()

    def settle(self, orders: dict[tuple[Methods, ...], MethodOrder]) -> None:
        """Sort what was put in; orders: those made already."""
        self.all = tuple(sorted(self.all, key=Place.rank))
        methods = tuple(place.entry.methods for place in self.all)
        order = orders.get(methods)
        if order is None:
            order = orders[methods] = MethodOrder(methods)
        self.by_method, self.others = order.by_method, order.others


def takes(methods: Methods, method: bytes) -> bool:
    """Whether a route of these methods takes this one; HEAD is answered as GET would be (RFC 9110 9.3.2)."""
    return methods is None or method in methods or (method == b"HEAD" and b"GET" in methods)


def _pattern(host: str) -> str:
    if host == ANY or not host.startswith("*."):
        return host if host == ANY else normal_host(host)
    return f"*.{normal_host(host[2:])}"
