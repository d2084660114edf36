"""What a response or a reload that goes wrong must not leave behind."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import until

FAILS_TO_PROVISION = '''"""A policy that cannot be provisioned."""

from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    """Nothing to set."""


@implementer(IOnRequest)
class Fails:
    """Fails."""

    def __init__(self, config):
        pass

    def provision(self, services):
        raise RuntimeError("no provision")

    def close(self):
        pass

    def on_request(self, exchange):
        return None


KIND = kind("fails", config=Config, policy=Fails)
EXAMPLES = (Example("it fails", {}, (Call(),)),)
'''


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_a_body_that_a_reset_ends_is_not_passed_on_as_complete(stage: Stage, how: str) -> None:
    def script(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n\r\npartial")

    origin = await stage.origin(script)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: b"partial" in client.unread)
    origin.open[0].reset() if how == "reset" else origin.open[0].close()
    await until(lambda: client.unread.endswith(b"0\r\n\r\n") or client.ended)
    assert client.unread.endswith(b"0\r\n\r\n") is (how == "close")


@ensureDeferred
async def test_a_reload_that_fails_to_provision_leaves_health_as_it_is(stage: Stage) -> None:
    def script(asked: Asked) -> None:
        asked.answer(503 if asked.target == "/health" else 200)

    origin = await stage.origin(script)
    checked = {"health": {"path": "/health", "interval": "20ms", "unhealthy_after": 1}}
    folder = stage.folder / "policies"
    folder.mkdir()
    (folder / "fails.py").write_text(FAILS_TO_PROVISION)
    gateway = await stage.serve(simple(origin, up=checked, policy_paths=["policies"]))
    worker = gateway.worker
    await until(lambda: not worker.upstreams()[0]["targets"][0]["healthy"])
    slower = {"health": {"path": "/health", "interval": "60s", "unhealthy_after": 1}}
    gateway.write(simple(origin, api(pre_flow=steps(step("fails"))), up=slower, policy_paths=["policies"]))
    result = await worker.reload()
    assert not result["taken"] and "no provision" in result["problems"][0]
    assert not worker.upstreams()[0]["targets"][0]["healthy"]
