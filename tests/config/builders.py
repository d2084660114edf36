"""Small valid configurations, and ways to break one place of them."""

from __future__ import annotations

from typing import Any

from apigateway.config.load import configuration_of
from apigateway.config.model import Configuration

KEY_HASH = "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090"
TOKEN_HASH = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"

ABSENT = object()


def document() -> dict[str, Any]:
    """Plain values of a configuration in which nothing is wrong or odd."""
    return {
        "version": 1,
        "listeners": [{"name": "public", "address": "127.0.0.1:8080"}],
        "upstreams": [{"name": "users", "targets": [{"url": "http://127.0.0.1:9001"}]}],
        "apis": [
            {
                "name": "users",
                "base_path": "/users",
                "routes": [{"name": "read", "match": {"path": "/{id}"}, "upstream": "users"}],
            }
        ],
        "consumers": [{"name": "acme", "api_keys": [{"sha256": KEY_HASH}]}],
    }


def changed(pointer: str, value: object) -> dict[str, Any]:
    """document() with another value at a place; ABSENT takes the place out, "-" at the end adds to a list."""
    whole = document()
    *parents, last = pointer.lstrip("/").split("/")
    holder: Any = whole
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if isinstance(holder, list):
        if last == "-":
            holder.append(value)
        else:
            holder[int(last)] = value
    elif value is ABSENT:
        del holder[last]
    else:
        holder[last] = value
    return whole


def configuration(pointer: str = "", value: object = None) -> Configuration:
    """The configuration of document(), or of changed()."""
    return configuration_of(changed(pointer, value) if pointer else document())
