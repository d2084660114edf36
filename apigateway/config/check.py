"""Whether a configuration, valid in each part, makes sense as a whole. Pure: nothing is read or resolved."""

from __future__ import annotations

from collections.abc import Iterator

from apigateway.config import check_process, check_routes, check_upstreams
from apigateway.config.document import pointer_to
from apigateway.config.doubles import doubles, refusal
from apigateway.config.model import Configuration, Consumer
from apigateway.config.references import stray_references
from apigateway.errors import Problem
from apigateway.text import parse_date


def check(configuration: Configuration) -> tuple[Problem, ...]:
    """Everything that is wrong, and what is odd (warnings), at once; empty when all is well.

    Not looked at: settings of policies and CEL (their own floors check them), and files (paths.check_files).
    """
    return tuple(_problems(configuration))


def _problems(configuration: Configuration) -> Iterator[Problem]:
    yield from check_process.check(configuration)
    yield from check_upstreams.check(configuration.upstreams)
    yield from check_routes.check(configuration)
    yield from _unused_upstreams(configuration)
    yield from _consumers(configuration.consumers)
    yield from stray_references(configuration)


def _unused_upstreams(configuration: Configuration) -> Iterator[Problem]:
    routes = [route for api in configuration.apis for route in api.routes]
    used = {name for route in routes for name in check_routes.upstreams_of(route)}
    for i, upstream in enumerate(configuration.upstreams):
        if upstream.name not in used:
            message = f'no route names the upstream "{upstream.name}"'
            yield Problem(pointer_to("upstreams", i), message, warning=True)


def _consumers(consumers: tuple[Consumer, ...]) -> Iterator[Problem]:
    yield from doubles((consumer.name for consumer in consumers), "/consumers", "name")
    keys = [
        (pointer_to("consumers", i, "api_keys", k), key)
        for i, consumer in enumerate(consumers)
        for k, key in enumerate(consumer.api_keys)
    ]
    first: dict[str, str] = {}
    for pointer, key in keys:
        if first.setdefault(key.sha256, pointer) != pointer:
            yield Problem(pointer, f"this key is also at {first[key.sha256]}: it could not tell who calls")
        if key.expires is not None:
            yield from refusal(parse_date, key.expires, f"{pointer}/expires")
