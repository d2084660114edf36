"""RC-O37: a policy that fails lets nothing through, whichever way it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.settings import Settings, api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import together, until

from apigateway.errors import ConfigurationRefused

GUARD = '''\
"""Fails in the way that X-Bad asks for."""

from __future__ import annotations

from pydantic import Field
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.services import Services


class Config(Settings):
    """What is asked of it."""

    strength: int = Field(default=1, ge=1, le=9, description="How much of a guard it is.")


async def later():
    raise RuntimeError("secret in a coroutine")


@implementer(IOnRequest)
class Guard:
    """Fails on request."""

    def __init__(self, config: Config) -> None:
        self.cancelled = 0

    def provision(self, services: Services) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange):
        """Fail, or not."""
        bad = exchange.request.headers.get(b"x-bad")
        if bad == b"1":
            raise ValueError("secret in the guard")
        if bad == b"2":
            return fail(KeyError("secret in a Deferred"))
        if bad == b"3":
            return Deferred()
        if bad == b"4":
            return "neither a Reply nor something to wait for"
        if bad == b"5":
            return later()
        return None


KIND = kind("guard", config=Config, policy=Guard, guards=GUARDS)

EXAMPLES = (Example("It lets good requests through", {"strength": 2}, (Call(status=200),)),)
'''
WAYS = {"1": "ValueError", "2": "KeyError", "3": "", "4": "TypeError", "5": "RuntimeError"}


def with_guard(folder: Path, *, guards: bool = True) -> dict[str, Any]:
    """Write the policy into a folder; the setting that finds it."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "guard.py").write_text(GUARD.replace("GUARDS", str(guards)))
    return {"policy_paths": ["policies"]}


def guarded(**step_settings: Any) -> Settings:
    """An Api behind the guard."""
    return api(route(), pre_flow=steps({**step("guard"), "timeout": "200ms", **step_settings}))


@ensureDeferred
async def test_rc_o37_however_a_guard_fails_the_request_ends_there(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, guarded(), **with_guard(stage.folder)))
    *failed, good = await together(
        *(stage.ask("GET", f"/bad{way}", f"X-Bad: {way}", within=2.0) for way in WAYS),
        stage.ask("GET", "/good"),
    )
    assert good.status == 200
    assert [asked.target for asked in origin.asked] == ["/good"]
    for way, answer in zip(WAYS, failed, strict=True):
        assert answer.status in (500, 504), way
        assert answer.get("content-type") == "application/problem+json"
        text = answer.raw + answer.body
        assert not any(
            word in text for word in (b"secret", b"ValueError", b"KeyError", b"guard", b"Traceback")
        ), way
    # What failed, where and how stands in the error log only, under the id that the client was told.
    for (way, error), answer in zip(WAYS.items(), failed, strict=True):
        if way != "3":
            event = await stage.gateway.event("a policy failed", incident=answer.json["incident"])
            assert error in event["traceback"] and "guard" in event["step"], way
    late = await stage.gateway.event("Internal error", type="step-timeout")
    assert late["step"] == "guard"


@ensureDeferred
async def test_rc_o37_a_request_beside_a_stuck_one_is_not_held_up(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, guarded(timeout="2s"), **with_guard(stage.folder)))
    stuck = await stage.client()
    stuck.send(b"GET /stuck HTTP/1.1\r\nHost: gw.test\r\nX-Bad: 3\r\n\r\n")
    client = await stage.client()
    for _ in range(5):
        assert (await client.ask("GET", "/good")).status == 200
    assert stuck.size == 0
    assert (await stuck.answer()).status == 500


@ensureDeferred
async def test_rc_o37_a_client_that_leaves_a_stuck_guard_is_let_go(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, guarded(timeout="30s"), **with_guard(stage.folder)))
    client = await stage.client()
    client.send(b"GET /stuck HTTP/1.1\r\nHost: gw.test\r\nX-Bad: 3\r\n\r\n")
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 1)
    client.close()
    assert (await stage.gateway.line())["status"] == 499


@ensureDeferred
async def test_rc_o37_a_guard_in_the_middle_of_an_upload_ends_it(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, guarded(), **with_guard(stage.folder)))
    client = await stage.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: gw.test\r\nX-Bad: 3\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000
    )
    answer = await client.answer()
    assert (answer.status, answer.get("connection"), origin.connections) == (500, "close", [])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strength": 10}, "strength"),
        ({"strenght": 2}, "strength"),
    ],
)
@ensureDeferred
async def test_rc_o37_a_wrong_setting_is_refused_at_deploy(
    stage: Stage, settings: Settings, said: str
) -> None:
    origin = await stage.origin()
    good = simple(origin, guarded(), **with_guard(stage.folder))
    bad = {**good, "apis": [guarded(**{"with": settings})]}
    stage.gateway.write(bad)
    with pytest.raises(ConfigurationRefused) as refused:
        await stage.gateway.start()
    assert any(
        said in str(problem) and "/pre_flow/request/0/with" in str(problem)
        for problem in refused.value.problems
    )

    await stage.serve(good)
    digest = stage.gateway.worker.status()["revision"]
    stage.gateway.write(bad)
    result = await stage.gateway.reload()
    assert not result["taken"] and any(said in problem for problem in result["problems"])
    assert result["digest"] == digest
    assert (await stage.ask("GET", "/", "X-Bad: 1")).status == 500


@ensureDeferred
async def test_rc_o37_failing_open_has_to_be_said_and_a_guard_may_not_say_it(stage: Stage) -> None:
    origin = await stage.origin()
    settings = simple(origin, guarded(on_error="continue"), **with_guard(stage.folder))
    stage.gateway.write(settings)
    with pytest.raises(ConfigurationRefused) as refused:
        await stage.gateway.start()
    assert any("on_error" in str(problem) for problem in refused.value.problems)
    # The same code as a kind that guards nothing: its errors are passed over, and counted.
    (stage.folder / "policies" / "guard.py").write_text(GUARD.replace("GUARDS", "False"))
    await stage.gateway.start()
    for way in WAYS:
        assert (await stage.ask("GET", f"/bad{way}", f"X-Bad: {way}")).status == 200, way
    assert len(origin.asked) == len(WAYS)
    counted = [
        line
        for line in stage.gateway.service.metrics.exposition().decode().splitlines()
        if "error-continued" in line
    ]
    assert len(counted) == 1 and counted[0].endswith(f" {float(len(WAYS))}")


@ensureDeferred
async def test_rc_o37_in_the_shadow_a_guard_ends_nothing_however_it_fails(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, guarded(mode="shadow"), **with_guard(stage.folder)))
    for way in WAYS:
        assert (await stage.ask("GET", f"/bad{way}", f"X-Bad: {way}")).status == 200, way
    line = await stage.gateway.line(lambda line: line["target"] == "/bad1")
    assert line["notes"] == {"shadow.guard": "error ValueError"}


@pytest.mark.parametrize("broken", ["def (", "import nowhere_to_be_found", "KIND = 7", "raise SystemExit(3)"])
@ensureDeferred
async def test_rc_o37_a_policy_file_that_does_not_load_refuses_the_revision(
    stage: Stage, broken: str
) -> None:
    origin = await stage.origin()
    settings = simple(origin, guarded(), **with_guard(stage.folder))
    await stage.serve(settings)
    (stage.folder / "policies" / "guard.py").write_text(broken + "\n")
    result = await stage.gateway.reload()
    assert not result["taken"] and any("guard.py" in problem for problem in result["problems"])
    assert (await stage.ask("GET", "/")).status == 200
    assert (await stage.ask("GET", "/", "X-Bad: 1")).status == 500
