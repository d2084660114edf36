"""What the demo suggests to try: each line is a command for a shell, and a test of ours."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from apigateway.cli.demo_setting import DemoSetting

KEY = "demo-key"
TOKEN = "demo-token"


@dataclass(frozen=True, slots=True)
class Trial:
    """Something to try, and what it shows."""

    shows: str
    command: str


def trials(setting: DemoSetting) -> list[Trial]:
    """What to try with the quickstart's configuration."""
    return [*_plain(setting.http), *_live(setting.http), *_secure(setting), *_management(setting.management)]


def _plain(http: str) -> Iterator[Trial]:
    yield Trial("the two services take turns", f"curl -s {http}/hello {http}/hello")
    yield Trial("what a service gets to see", f"curl -s '{http}/echo?a=1'")
    yield Trial("a slow answer: 504 after 5 s", f"curl -si '{http}/slow?seconds=20'")
    yield Trial("a failing service is asked once more", f"curl -si '{http}/fail?status=503'")
    yield Trial("no key: 401", f"curl -si {http}/private/hello")
    private = f"-H 'X-API-Key: {KEY}' {http}/private/hello"
    yield Trial("with a key: 200", f"curl -si {private}")
    yield Trial(
        "past the limit: 429 with Retry-After", f"for i in 1 2 3 4 5 6; do curl -si {private} | head -n 1; done"
    )
    yield Trial(
        "a browser asks whether it may (CORS)",
        "curl -si -X OPTIONS -H 'Origin: https://app.example.test' "
        f"-H 'Access-Control-Request-Method: GET' {http}/hello",
    )


def _live(http: str) -> Iterator[Trial]:
    yield Trial("an event each second, as it happens", f"curl -sN '{http}/live/events?count=3'")
    socket = http.replace("http", "ws", 1)
    python = shlex.quote(sys.executable)
    yield Trial(
        "a WebSocket that echoes", f"{python} -m apigateway.cli.demo_websocket {socket}/live/ws 'hello, socket'"
    )
    yield Trial("100 MB up", f"head -c 100000000 /dev/zero | curl -s -T - {http}/live/upload")
    yield Trial("100 MB down", f"curl -so /dev/null -w '%{{size_download}}\\n' '{http}/live/bytes?n=100000000'")


def _secure(setting: DemoSetting) -> Iterator[Trial]:
    port = setting.https.rpartition(":")[2]
    host = setting.https.removeprefix("https://").rpartition(":")[0]
    for name in setting.names:
        yield Trial(
            f"HTTPS, as {name}",
            f"curl -s --cacert {shlex.quote(str(setting.ca))} --resolve {name}:{port}:{host} https://{name}:{port}/hello",
        )


def _management(management: str) -> Iterator[Trial]:
    if not management:
        return
    token = f"-H 'Authorization: Bearer {TOKEN}'"
    yield Trial("how the worker is", f"curl -s {token} {management}/v1/worker/status")
    yield Trial("its targets", f"curl -s {token} {management}/v1/worker/upstreams")
    yield Trial("figures for Prometheus", f"curl -s {management}/metrics")
