"""Reloads and the end of a real process, while clients ask all the time: no request fails."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from toolkit.load import Load, wait_until
from toolkit.program import Programs
from toolkit.settings import Settings, api, step, steps

REQUESTS = 50_000
RELOADS = 20
CONNECTIONS = 32
NOTICE = 1.0
_OUT = re.compile(rb"\r\nx-out: v([0-9]+)\r\n")


def marked(origin: str, version: int, **more: Any) -> Settings:
    """A revision that says which one it is: in a field of the request, which the origin answers with, and in a field
    of the answer."""
    mark = f"v{version}"
    flow = steps(step("set-headers", set={"X-In": mark}), response=(step("set-headers", set={"X-Out": mark}),))
    return {
        "upstreams": [{"name": "up", "targets": [{"name": "one", "url": origin}]}],
        "apis": [api(pre_flow=flow)],
        **more,
    }


class Revisions:
    """Looks at answers: each is of one revision, from its first step to its last. newest: the highest seen."""

    def __init__(self) -> None:
        self.newest = -1

    def check(self, head: bytes, body: bytes) -> str:
        out = _OUT.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or out is None:
            return f"not the answer: {head!r} {body[:200]!r}"
        if body != b"v" + out[1]:
            return f"the request was of {body!r}, the answer of v{out[1].decode()}"
        if int(out[1]) > self.newest:
            self.newest = int(out[1])
        return ""


@pytest.mark.timeout(300)
def test_fifty_thousand_requests_over_twenty_reloads(tmp_path: Path) -> None:
    with Programs() as programs:
        gateway = programs.gateway(tmp_path, lambda origin: marked(origin, 0))
        revisions = Revisions()
        load = Load(gateway.address, CONNECTIONS, revisions.check)
        load.start()
        for version in range(1, RELOADS + 1):
            load.wait_for(REQUESTS * version // (RELOADS + 1))
            gateway.write(marked(programs.origin_url, version))
            gateway.hang_up()
            wait_until(lambda: revisions.newest == version or load.failures, lambda: f"v{revisions.newest}")  # noqa: B023
        load.wait_for(REQUESTS)
        load.stop()
        assert load.failures == []
        # Not even a connection was lost.
        assert (load.refused, load.reconnected) == ([], 0)
        assert load.answers >= REQUESTS
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
        assert [line["status"] for line in gateway.logged()] == [200] * load.answers
        assert sum("revision taken" in event["message"] for event in gateway.events()) >= RELOADS


def test_the_end_of_the_process_under_load(tmp_path: Path) -> None:
    drain = {"notice": f"{NOTICE:g}s", "timeout": "10s"}
    with Programs() as programs:
        gateway = programs.gateway(tmp_path, lambda origin: marked(origin, 0, drain=drain))
        load = Load(gateway.address, CONNECTIONS, Revisions().check)
        load.start()
        load.wait_for(2000)
        told = time.monotonic()
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
        load.join()
        # Every client had whole answers, was told to come anew, and did, until nobody listened any more.
        assert load.failures == []
        assert load.reconnected >= CONNECTIONS
        assert len(load.refused) == CONNECTIONS
        # Who came before the end of the notice was served. (Who came in its last moments may not have been seen.)
        assert [began - told for began, _ in load.refused if began < told + NOTICE * 0.8] == []
        assert len(gateway.logged()) == load.answers
