"""What the configurations of the pages name: certificates, secrets, policy files. And a configuration for parts."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from doc_pages import blocks
from ruamel.yaml import YAML

from apigateway.cli.authority import Authority

NAMES = ("api.example.test", "shop.example.test", "localhost")
ENVIRONMENT = {"UPSTREAM_TOKEN": "from the environment", "STICKY_SECRET": "0123456789abcdef", "REDIS_PASSWORD": "p"}

_BASE: dict[str, Any] = {
    "version": 1,
    "listeners": [{"name": "public", "address": "127.0.0.1:8080"}],
    "upstreams": [
        {"name": name, "targets": [{"name": "one", "url": "https://127.0.0.1:9001"}]}
        for name in ("orders", "orders-beta", "files")
    ],
    "apis": [{"name": "orders", "base_path": "/orders", "routes": [{"name": "all", "upstream": "orders"}]}],
}


def furnish(folder: Path) -> None:
    """Put into a folder what the configurations name."""
    authority = Authority.of_folder(folder / "certs")
    for name in NAMES:
        authority.issue_server(name)
    authority.issue_client("client")
    for name in ("secrets", "policies"):
        (folder / name).mkdir()
    (folder / "secrets" / "orders-token").write_text("from a file\n")
    for block in blocks("python"):
        if "policy" in block.classes:
            (folder / block.caption).write_text(block.text)


def around(place: str, text: str) -> str:
    """A configuration that has this part at a place: "in-file", "in-api" and so on."""
    part = YAML(typ="safe", pure=True).load(text)
    whole = deepcopy(_BASE)
    _put(whole, place, part)
    return _dumped(whole)


def _put(whole: dict[str, Any], place: str, part: Mapping[str, Any]) -> None:
    if place == "in-file":
        whole.update(part)
    elif place == "in-api":
        whole["apis"][0].update(part)
    elif place == "in-route":
        whole["apis"][0]["routes"][0].update(part)
    elif place == "in-upstream":
        whole["upstreams"][0].update(part)
    else:
        assert place == "in-listener", place
        whole["listeners"][0].update(part)


def _dumped(value: Any) -> str:
    from io import StringIO

    stream = StringIO()
    YAML(typ="safe", pure=True).dump(value, stream)
    return stream.getvalue()
