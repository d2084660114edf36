"""What `explain` is asked, read from a body or from a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from apigateway.manager.problems import Refused

_SHAPE = '{"method": "GET", "url": "http://host/path", "headers": {"name": "value"}}'


@dataclass(frozen=True, slots=True)
class ExplainCall:
    """A request that is not sent."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]


def read_body(request: Any) -> ExplainCall:
    """Of a POST; headers are an object (a value may be a list of values) or a list of pairs. Refused: 400 or 422."""
    try:
        asked = orjson.loads(request.content.read())
    except ValueError as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refused(422, f"the body is an object: {_SHAPE}")
    unknown = sorted(set(asked) - {"method", "url", "headers"})
    if unknown:
        raise Refused(422, f"unknown: {', '.join(unknown)}; the body is {_SHAPE}")
    return _call(asked.get("method", "GET"), asked.get("url"), list(_pairs(asked.get("headers", {}))))


def read_query(request: Any) -> ExplainCall:
    """Of a GET: method, url, and any number of header="Name: value". Refused: 422."""
    texts = {
        name.decode("utf-8", "replace"): [value.decode("utf-8", "replace") for value in values]
        for name, values in request.args.items()
    }
    headers = [tuple(part.strip() for part in line.partition(":")[::2]) for line in texts.get("header", [])]
    return _call(texts.get("method", ["GET"])[0], texts.get("url", [None])[0], headers)


def _pairs(headers: Any) -> Iterable[Any]:
    if not isinstance(headers, dict):
        yield from headers if isinstance(headers, list) else [headers]
        return
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            yield name, one


def _call(method: Any, url: Any, headers: list[Any]) -> ExplainCall:
    if not isinstance(method, str) or not method:
        raise Refused(422, "method is a text")
    if not isinstance(url, str) or not url:
        raise Refused(422, f"url is needed: {_SHAPE}")
    for pair in headers:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise Refused(422, "headers hold names and values that are texts")
    return ExplainCall(method, url, tuple((name, value) for name, value in headers))
