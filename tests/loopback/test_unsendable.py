"""Requests that a target cannot be given: it has as many connections as it may, or there is no way to write them."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import api, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import until

SPOILS = '''"""A policy that makes of a request what cannot be written."""

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    """What it spoils."""

    what: str = Field(default="", description="A field of the request.")


@implementer(IOnRequest)
class Spoils:
    """Spoils it, where the client says so."""

    def __init__(self, config):
        self.what = config.what

    def provision(self, services):
        pass

    def close(self):
        pass

    def on_request(self, exchange):
        if exchange.request.headers.get(b"x-spoil"):
            setattr(exchange.request, self.what, b"/a b\\r\\nX-Smuggled: 1")
        return None


KIND = kind("spoils", config=Config, policy=Spoils)
EXAMPLES = (Example("it spoils nothing", {"what": "target"}, (Call(),)),)
'''


async def wait_for_slow(asked: Asked) -> None:
    """/slow gets no answer."""
    await asked.read()
    if asked.target != "/slow":
        asked.answer(200, b"ok")


@pytest.mark.parametrize("balance", ["round-robin", "least-recently-used"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@ensureDeferred
async def test_a_full_target_sends_on_to_the_next_one(stage: Stage, balance: str, method: str) -> None:
    one, two = await stage.origin(wait_for_slow), await stage.origin(wait_for_slow)
    settings = upstream(one, two, balance=balance, pool={"max_connections": 1}, health={"passive": {"failures": 1}})
    await stage.serve({"upstreams": [settings], "apis": [api()]})
    body = b"5" if method == "POST" else None
    waiting = await stage.client()
    waiting.send(request("GET", "/slow"))
    await until(lambda: one.asked or two.asked)
    full, free = (one, two) if one.asked else (two, one)
    client = await stage.client()
    for number in range(6):
        assert (await client.ask(method, f"/{number}", body=body)).status == 200
    assert (len(full.asked), len(free.asked)) == (1, 6)
    # Being full is no failure of its own: it is not put aside for it.
    assert [target["usable"] for target in stage.gateway.worker.upstreams()[0]["targets"]] == [True, True]
    # With both full there is nobody to send on to.
    also = await stage.client()
    also.send(request("GET", "/slow"))
    await until(lambda: len(free.asked) == 7)
    answer = await client.ask(method, "/none", body=body)
    assert (answer.status, answer.kind) == (503, "overloaded")
    waiting.close()
    await until(lambda: not full.open)
    assert (await client.ask(method, "/again", body=body)).status == 200


@pytest.mark.parametrize("what", ["target", "method", "authority"])
@pytest.mark.parametrize("body", [None, b"5", b"x" * 200_000])
@pytest.mark.parametrize("kept", [False, True])
@ensureDeferred
async def test_a_request_that_cannot_be_written_gets_one_answer(
    stage: Stage, what: str, body: bytes | None, kept: bool
) -> None:
    origin = await stage.origin(wait_for_slow)
    (stage.folder / "policies").mkdir()
    (stage.folder / "policies" / "spoils.py").write_text(SPOILS)
    spoilt = api(pre_flow=steps(step("spoils", what=what)))
    await stage.serve(
        simple(origin, spoilt, up={"host": "preserve", "retry": {"attempts": 3}}, policy_paths=["policies"])
    )
    method = "GET" if body is None else "POST"
    client = await stage.client()
    if kept:
        assert (await client.ask("GET", "/")).status == 200
    answer = await client.ask(method, "/", "X-Spoil: 1", body=body)
    assert (answer.status, answer.kind) == (500, "internal")
    assert client.unread == b""
    line = await stage.gateway.line(lambda line: line["status"] != 200)
    assert (line["status"], line["attempts"], line["fault"]["type"]) == (500, 1, "internal")
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["active"], target["connections"]["busy"], target["usable"]) == (0, 0, True)
    # Nothing of it was sent, and what comes next is served.
    assert [asked.target for asked in origin.asked] == ["/"] * kept
    assert (await stage.ask("GET", "/next")).status == 200
    await until(lambda: len(stage.gateway.access()) == 2 + kept)
