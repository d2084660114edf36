"""What happens while a reload is being built: for that time there is more than one truth, and none of them is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority, blind_client, served_certificate
from toolkit.client import request
from toolkit.gateway import Gateway
from toolkit.name_server import NameServer
from toolkit.origin import Asked, answering
from toolkit.settings import Settings, api, route, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, steady, turn, until
from twisted.internet.defer import Deferred

SVC = "svc.example.test"

SLOW_TO_PROVISION = '''"""A policy that is provisioned when a file is there."""

from pathlib import Path

from pydantic import Field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    """Where the file is."""

    go: str = Field(default="", description="Path; none: at once.")


@implementer(IOnRequest)
class Slow:
    """Is slow."""

    def __init__(self, config):
        self.go = config.go

    def provision(self, services):
        if not self.go:
            return None
        Path(self.go + ".begun").touch()
        there = Deferred()

        def look():
            if Path(self.go).exists():
                failed = Path(self.go).read_text() == "fail"
                there.errback(ValueError("in no mood")) if failed else there.callback(None)
            else:
                services.timers.call_later(0.005, look)

        look()
        return there

    def close(self):
        pass

    def on_request(self, exchange):
        return None


KIND = kind("slow", config=Config, policy=Slow)
EXAMPLES = (Example("it is there", {}, (Call(),)),)
'''


@pytest_twisted.async_yield_fixture
async def names() -> Any:
    server = NameServer()
    yield server
    await server.close()


class Reload:
    """A reload that is held while it provisions, until `go_on`."""

    def __init__(self, folder: Path) -> None:
        self._go = folder / "go"
        policies = folder / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "slow.py").write_text(SLOW_TO_PROVISION)
        self.setting: Settings = {"policy_paths": ["policies"]}
        self.flow = steps(step("slow", go=str(self._go)))
        self._running: Deferred[dict[str, Any]] = Deferred()

    async def begin(self, gateway: Gateway, settings: Settings) -> None:
        """Write the settings, which have `flow` in them, and wait until provisioning waits."""
        gateway.write(settings)
        self._running = gateway.worker.reload()
        await until(self._go.with_name("go.begun").exists)

    async def start(self, gateway: Gateway, settings: Settings) -> Deferred[None]:
        """Begin with the settings, and wait until provisioning waits; fires when it serves, after `go`."""
        gateway.write(settings)
        started = Deferred.fromCoroutine(gateway.start())
        await until(self._go.with_name("go.begun").exists)
        return started

    def go(self, mood: str = "") -> None:
        """Let it come to its end, a bad one when it is to fail."""
        self._go.with_name("mood").write_text(mood)
        self._go.with_name("mood").rename(self._go)

    async def go_on(self) -> dict[str, Any]:
        """Let it come to its end."""
        self._go.touch()
        return await self._running


@ensureDeferred
async def test_names_are_kept_while_a_reload_that_wants_them_is_being_built(
    stage: Stage, names: NameServer
) -> None:
    """The end of an old revision forgets the names that no revision has; the one being built has its own already."""

    async def slow(asked: Asked) -> None:
        if asked.target == "/slow":
            await until(lambda: go)
        asked.answer(200, b"here")

    go: list[int] = []
    origin = await stage.origin(slow)
    there = await stage.origin(answering(200, b"there"))
    names.say(SVC, "127.0.0.1", ttl=1)
    held = Reload(stage.folder)
    common: Settings = {**held.setting, "resolver": {"servers": [names.address]}}
    gateway = await stage.serve(simple(origin, **common))
    running = await stage.client()
    running.send(request("GET", "/slow"))
    await until(lambda: origin.asked)
    # A second revision, so that the first one has only this exchange left; then a third one, over a name.
    gateway.write(simple(origin, api(name="second"), **common))
    assert (await gateway.reload())["taken"]
    assert gateway.worker.status()["revisions_in_use"] == 2
    by_name = {"name": "svc", "targets": [{"url": f"http://{SVC}:{there.port}"}]}
    third = {**common, "upstreams": [by_name], "apis": [api(route(to="svc"), name="third", pre_flow=held.flow)]}
    await held.begin(gateway, third)
    go.append(1)
    assert (await running.answer()).body == b"here"
    await turn(0.02)
    assert (await held.go_on())["taken"]
    assert (await stage.ask("GET", "/", within=2.0)).body == b"there"
    # And it is still followed.
    before = names.asked
    await until(lambda: names.asked > before, within=4.0)


@ensureDeferred
async def test_targets_keep_what_is_known_of_them_while_a_reload_is_being_built(stage: Stage) -> None:
    async def slow(asked: Asked) -> None:
        if asked.target == "/slow":
            await until(lambda: go)
        asked.answer(200)

    go: list[int] = []
    bad, origin = await stage.origin(), await stage.origin(slow)
    bad.die()
    held = Reload(stage.folder)
    health = {"passive": {"failures": 1, "aside_for": "1h"}}

    def settings(*apis: Settings, **more: Any) -> Settings:
        return {"upstreams": [upstream(bad, origin, health=health, **more)], "apis": list(apis), **held.setting}

    gateway = await stage.serve(settings(api()))
    assert (await stage.ask("GET", "/")).status == 200
    assert (await stage.ask("GET", "/")).status == 200
    running = await stage.client()
    running.send(request("GET", "/slow"))
    await until(lambda: any(asked.target == "/slow" for asked in origin.asked))
    gateway.write({**settings(), "upstreams": [], "apis": []})
    assert (await gateway.reload())["taken"]
    await held.begin(gateway, settings(api(pre_flow=held.flow), balance="least-connections"))
    go.append(1)
    assert (await running.answer()).status == 200
    await turn(0.02)
    assert (await held.go_on())["taken"]
    assert [target["usable"] for target in gateway.worker.upstreams()[0]["targets"]] == [False, True]


@ensureDeferred
async def test_the_certificates_of_a_reload_are_those_that_were_looked_at(
    stage: Stage, authority: Authority
) -> None:
    """Read once: what is checked is what is served, whatever is written over the files before the swap."""
    origin = await stage.origin()
    held = Reload(stage.folder)
    pair = authority.pair(stage.folder, "a", "a.test")

    def settings(*apis: Settings) -> Settings:
        tls = {"certificates": [pair], "check_files": "1h"}
        listeners = [{"name": "secure", "address": "127.0.0.1:0", "tls": tls}]
        return simple(origin, *apis, listeners=listeners, **held.setting)

    async def served() -> int:
        client = await stage.client(tls=blind_client(), server_name="a.test")
        serial = served_certificate(client.transport.get_extra_info("ssl_object")).serial_number
        client.close()
        return serial

    gateway = await stage.serve(settings())
    first = await served()
    authority.pair(stage.folder, "a", "a.test")
    await held.begin(gateway, settings(api(pre_flow=held.flow)))
    Path(pair["cert"]).write_text("nonsense")
    assert await served() == first
    assert (await held.go_on())["taken"]
    second = await served()
    assert second != first
    # A reload that does look at them is refused, and what is served stays.
    assert not (await gateway.reload())["taken"]
    assert await served() == second


@ensureDeferred
async def test_a_hang_up_during_the_drain_reloads_nothing_and_ends_nothing(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    gateway = await stage.serve(simple(origin, drain={"notice": "1ms", "timeout": "30s"}))
    digest = gateway.worker.status()["revision"]
    client = await stage.client()
    client.send(request("GET", "/slow"))
    await until(lambda: origin.asked)
    service: Any = gateway.service
    stopped: Deferred[Any] = service.stopService()
    await until(lambda: gateway.worker.status()["why_not_ready"] == "draining")
    gateway.write(simple(origin, api(name="other")))
    log = stage.folder / "error.log"
    log.rename(stage.folder / "error.log.1")
    os.kill(os.getpid(), signal.SIGHUP)
    # It is told, in the log that was opened again.
    event = await gateway.event("configuration refused")
    assert event["problems"] == ["/: the worker is ending"]
    assert gateway.worker.status()["revision"] == digest
    assert not stopped.called
    origin.last.answer(200, b"late")
    assert (await client.answer()).body == b"late"
    await stopped.addTimeout(5.0, reactor)
    stage.gateway.service = None  # type: ignore[assignment]


# ---- before the first revision serves


@ensureDeferred
async def test_a_reload_waits_for_the_first_revision_and_is_not_overtaken_by_it(stage: Stage) -> None:
    origin, held, gateway = await stage.origin(), Reload(stage.folder), stage.gateway
    started = await held.start(gateway, simple(origin, api(pre_flow=held.flow), **held.setting))
    gateway.write(simple(origin, api(route("/new")), **held.setting))
    reloading = gateway.worker.reload()
    await steady(lambda: not reloading.called and not started.called, 0.3, "it waits")
    held.go()
    await started
    assert (await reloading)["taken"]
    assert (await stage.ask("GET", "/new")).status == 200
    assert (await stage.ask("GET", "/")).status == 404
    await until(lambda: gateway.worker.status()["revisions_in_use"] == 1)


@ensureDeferred
async def test_a_reload_that_waits_for_a_start_that_fails_is_refused(stage: Stage) -> None:
    origin, held, gateway = await stage.origin(), Reload(stage.folder), stage.gateway
    kept = {**held.setting, "data_dir": "data"}
    started = await held.start(gateway, simple(origin, api(pre_flow=held.flow), **kept))
    gateway.write(simple(origin, **kept))
    reloading = gateway.worker.reload()
    held.go("fail")
    await started
    assert gateway.service.failed == 1
    assert (await reloading)["problems"] == ["/: the worker is ending"]
    assert not (stage.folder / "data").exists()
