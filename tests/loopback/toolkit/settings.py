"""Configurations as the tests write them down."""

from __future__ import annotations

from typing import Any

from toolkit.origin import Origin

Settings = dict[str, Any]


def upstream(*origins: Origin, name: str = "up", **more: Any) -> Settings:
    """An upstream of these origins."""
    return {"name": name, "targets": [{"url": one.url, "name": one.name} for one in origins], **more}


def route(prefix: str = "/", *, name: str = "all", to: Any = "up", **more: Any) -> Settings:
    """A route by prefix, unless `match` says otherwise."""
    return {"name": name, "match": {"path_prefix": prefix}, "upstream": to, **more}


def api(*routes: Settings, name: str = "api", **more: Any) -> Settings:
    """An Api; with one route that takes all, unless some are given."""
    return {"name": name, "routes": list(routes) or [route()], **more}


def steps(*request: Settings, response: tuple[Settings, ...] = ()) -> Settings:
    """A flow."""
    return {"request": list(request), "response": list(response)}


def step(policy: str, **settings: Any) -> Settings:
    """A step with its settings; a setting whose name is no word of Python's goes in by `**`."""
    return {"policy": policy, "with": settings}


def simple(origin: Origin, *apis: Settings, **more: Any) -> Settings:
    """One upstream of one origin."""
    given = more.pop("up", {})
    return {"upstreams": [upstream(origin, **given)], "apis": list(apis) or [api()], **more}
