"""Checks of Apis and routes: names, paths, hosts, versions, and the upstreams that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from apigateway.config.addresses import check_host
from apigateway.config.document import pointer_to
from apigateway.config.doubles import doubles, refusal
from apigateway.config.model import Api, Configuration, Flows, Match, Route
from apigateway.errors import Problem
from apigateway.text import nearest, parse_date

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")
# RFC 9110 5.6.2: token.
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check(configuration: Configuration) -> Iterator[Problem]:
    """What is wrong with the Apis of a configuration, and with the flows of the whole gateway."""
    yield from _flows(configuration, "")
    yield from doubles((api.name for api in configuration.apis), "/apis", "name")
    upstreams = dict.fromkeys(upstream.name for upstream in configuration.upstreams)
    merges = configuration.paths.empty_segments != "keep"
    for i, api in enumerate(configuration.apis):
        place = pointer_to("apis", i)
        yield from _api(api, place, merges)
        for k, route in enumerate(api.routes):
            yield from _route(route, f"{place}/routes/{k}", upstreams, merges)


def upstreams_of(route: Route) -> Iterator[str]:
    """The names of the upstreams that a route may choose."""
    if isinstance(route.upstream, str):
        yield route.upstream
    else:
        yield from (choice.upstream for choice in route.upstream or ())


def check_path(text: str, *, template: bool, whole_segments: bool) -> None:
    """ValueError unless a text is the path of a route.

    template: "{id}" may stand for a segment, "{rest*}" for all that follow. whole_segments: an empty segment
    is refused, because no request would reach it.
    """
    if not text.startswith("/"):
        raise ValueError('a path begins with "/"')
    if re.search(r"[\x00-\x20\x7f?#]", text):
        raise ValueError("a path has no space, query or fragment in it")
    segments = text[1:].split("/")
    if whole_segments and "" in segments[:-1]:
        raise ValueError('an empty segment ("//") never arrives: paths.empty_segments refuses or merges it')
    if "." in segments or ".." in segments:
        raise ValueError('"." and ".." are never asked for: they are refused or normalised before')
    _check_parameters(segments, template)


def _check_parameters(segments: list[str], template: bool) -> None:
    names: list[str] = []
    for position, segment in enumerate(segments, 1):
        if "{" not in segment and "}" not in segment:
            continue
        if not template:
            raise ValueError("parameters in braces are for the path of a route only")
        match = _PARAMETER.fullmatch(segment)
        if match is None:
            raise ValueError('a parameter fills its segment: "{name}", or "{name*}" for the tail')
        if match[2] and position != len(segments):
            raise ValueError(f'"{segment}" takes the tail, so nothing may follow it')
        if match[1] in names:
            raise ValueError(f'the parameter "{match[1]}" is there twice')
        names.append(match[1])


def _api(api: Api, place: str, whole_segments: bool) -> Iterator[Problem]:
    yield from _flows(api, place)
    yield from doubles((route.name for route in api.routes), f"{place}/routes", "name")
    yield from refusal(
        lambda text: _check_base_path(text, whole_segments), api.base_path, f"{place}/base_path"
    )
    for k, host in enumerate(api.hosts):
        yield from refusal(lambda text: check_host(text, wildcard=True), host, f"{place}/hosts/{k}")
    yield from doubles((host.lower() for host in api.hosts), f"{place}/hosts", "")
    if api.versioning is not None and api.api_version is None:
        yield Problem(f"{place}/api_version", "versioning needs the version that this Api is")
    yield from _dates(api, place)


def _check_base_path(text: str, whole_segments: bool) -> None:
    check_path(text, template=False, whole_segments=whole_segments)
    if len(text) > 1 and text.endswith("/"):
        raise ValueError('a base path does not end with "/"')


def _dates(api: Api, place: str) -> Iterator[Problem]:
    problems: list[Problem] = []
    for key in ("deprecated", "sunset"):
        if (text := getattr(api, key)) is not None:
            problems += refusal(parse_date, text, f"{place}/{key}")
    yield from problems
    if not problems and api.deprecated and api.sunset and parse_date(api.sunset) < parse_date(api.deprecated):
        # RFC 9745 4: the sunset is not earlier than the deprecation.
        yield Problem(f"{place}/sunset", "the end comes before the deprecation")


def _route(
    route: Route, place: str, upstreams: Mapping[str, None], whole_segments: bool
) -> Iterator[Problem]:
    yield from _flows(route, place)
    yield from _match(route.match, f"{place}/match", whole_segments)
    named = isinstance(route.upstream, str)
    for n, name in enumerate(upstreams_of(route)):
        if name not in upstreams:
            where = f"{place}/upstream" if named else f"{place}/upstream/{n}/upstream"
            yield Problem(where, f'there is no upstream "{name}"', hint=nearest(name, upstreams))
    if not named:
        yield from _unreachable_choices(route, f"{place}/upstream")


def _unreachable_choices(route: Route, place: str) -> Iterator[Problem]:
    choices = route.upstream if isinstance(route.upstream, tuple) else ()
    for n, choice in enumerate(choices[:-1]):
        if choice.when is None:
            yield Problem(f"{place}/{n}", "has no condition, so what follows is never taken", warning=True)


def _match(match: Match, place: str, whole_segments: bool) -> Iterator[Problem]:
    if match.path is not None and match.path_prefix is not None:
        yield Problem(f"{place}/path_prefix", "a route has path or path_prefix, not both")
    if match.path is None and match.path_prefix is None:
        yield Problem(place, 'needs path or path_prefix; path_prefix: "/" takes every path')
    if match.path is not None:
        yield from refusal(
            lambda text: check_path(text, template=True, whole_segments=whole_segments),
            match.path,
            f"{place}/path",
        )
    if match.path_prefix is not None:
        yield from refusal(
            lambda text: check_path(text, template=False, whole_segments=whole_segments),
            match.path_prefix,
            f"{place}/path_prefix",
        )
    for name in match.headers:
        if not _FIELD_NAME.fullmatch(name):
            yield Problem(f"{place}/headers{pointer_to(name)}", "not the name of a header")


def _flows(flows: Flows, place: str) -> Iterator[Problem]:
    # Conditional flows are told apart by their names, in logs and in explain.
    yield from doubles((flow.name for flow in flows.conditional_flows), f"{place}/conditional_flows", "name")
