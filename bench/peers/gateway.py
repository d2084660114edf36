"""Our own: the compiled build, the plain sources, and the bare trial."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from bench.place import Place, Proxy
from bench.processes import ROOT, python
from bench.scenario import PLAIN, RESOURCES, Scenario

TOKEN = "of-the-benchmark"
APIS = 20
COMPILED = ROOT / ".venv-compiled" / "bin" / "python"


def configuration(port: int, backends: tuple[int, int], access_log: str, scenario: Scenario = PLAIN,
                  certificate: tuple[Path, Path] | None = None) -> str:
    """Routing over many routes, metrics (always on), the access log to a file; steps where they are asked for."""
    listener = [f'  - name: public\n    address: "127.0.0.1:{port}"']
    if certificate is not None:
        listener.append(f'    tls: {{certificates: [{{cert: "{certificate[0]}", key: "{certificate[1]}"}}]}}')
    return "\n".join([
        "version: 1", "listeners:", *listener, *_management(scenario.management),
        f'logs: {{access: "{access_log}", error: "off"}}',
        "data_dir: null",
        "drain: {notice: 10ms, timeout: 1s}",
        *([f"workers: {scenario.workers}"] if scenario.workers > 1 else []),
        *([f'state: {{url: "{scenario.state}", timeout: 1s}}'] if scenario.state else []),
        "upstreams:",
        "  - name: backend",
        f'    targets: [{", ".join(f"{{url: {_quoted(backend)}}}" for backend in backends)}]',
        *_steps(scenario),
        "apis:",
        *_apis(scenario),
    ]) + "\n"


def _management(port: int) -> list[str]:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return [f'management: {{address: "127.0.0.1:{port}", tokens: [{{name: bench, sha256: {digest}}}]}}'] if port else []


def _quoted(port: int) -> str:
    return f'"http://127.0.0.1:{port}"'


def _steps(scenario: Scenario) -> list[str]:
    lines = []
    if scenario.policies or scenario.limit:
        scope = "worker" if scenario.workers > 1 and not scenario.state else "shared"
        # Closed: a decision that was made without the state would be one that cost nothing.
        limit = f"limit: 1000000, per: 1s, by: ip, scope: {scope}, on_store_failure: closed"
        lines.append(f"    - {{policy: rate-limit, with: {{{limit}}}}}")
    if scenario.policies:
        lines.append("    - {policy: set-headers, with: {set: {X-Edited: one}}}")
    if scenario.count_as:
        lines.append(f'    - {{policy: set-headers, with: {{set: {{X-Edition: "{scenario.count_as}"}}}}}}')
    if not lines:
        return []
    answers = ["  response:", "    - {policy: set-headers, with: {set: {X-Served-By: bench}}}"]
    return ["pre_flow:", "  request:", *lines, *(answers if scenario.policies else [])]


def _apis(scenario: Scenario) -> list[str]:
    services = scenario.services() if scenario.routes else [f"service-{number:02d}" for number in range(APIS)]
    methods = "[GET, POST]" if scenario.bodies else "[GET]"
    lines = []
    for service in services:
        lines += [f"  - name: {service}", f"    base_path: /{service}", "    routes:"]
        lines += [
            f'      - {{name: {name}, match: {{methods: {methods}, path: "/{name}/{{id}}"}}, upstream: backend}}'
            for name in RESOURCES
        ]
    return lines


def configured(place: Place) -> str:
    """The path of the configuration of a place."""
    certificate = place.certificate() if place.scenario.tls else None
    return place.kept("gateway.yaml", configuration(
        place.port, place.backends, str(place.log), place.scenario, certificate,
    ))


def compiled_python() -> str | None:
    """The interpreter of the compiled build (setup.py, HOT): named by GATEWAY_PYTHON, else what `make compiled` made.

    Start it with -P: not the sources that lie in this folder.
    """
    named = os.environ.get("GATEWAY_PYTHON")
    return named or (str(COMPILED) if COMPILED.exists() else None)


def _gateway(place: Place) -> Sequence[str] | str:
    interpreter = compiled_python()
    if interpreter is None:
        return "there is no compiled build: make compiled"
    return [interpreter, "-P", "-m", "apigateway.cli", "run", configured(place)]


def _uncompiled(place: Place) -> Sequence[str]:
    return python("apigateway.cli", "run", configured(place))


def _bare(place: Place) -> Sequence[str]:
    return python("bench.bare", place.port, place.backends[0], *(place.certificate() if place.scenario.tls else ()))


PROXIES = (
    Proxy("gateway", "200 routes, metrics, access log", True, _gateway),
    Proxy("uncompiled", "the same as plain Python", True, _uncompiled),
    Proxy("bare", "llhttp and the native transport, nothing else", False, _bare),
)
