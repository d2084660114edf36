"""What a revision leaves behind when another one has taken its place: nothing that only the collector would find."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_twisted
from toolkit.name_server import NameServer
from toolkit.stage import Stage
from toolkit.waiting import until
from twisted.internet.defer import Deferred, succeed

from apigateway.dataplane.deployment import SLICE, Deployment, Means, let_go
from apigateway.dataplane.service_targets import ServiceTargets
from apigateway.flow.balancing import Balancer
from apigateway.flow.drafting import Draft
from apigateway.flow.plan import Plan
from apigateway.flow.upstream import CompiledUpstream


class Left:
    """How many of a kind there are, those left out that other tests still hold."""

    def __init__(self) -> None:
        self._before = self._counts()

    def __call__(self, *kinds: type) -> list[int]:
        now = self._counts()
        return [now[kind] - self._before[kind] for kind in kinds]

    @staticmethod
    def _counts() -> Counter[type]:
        return Counter(map(type, gc.get_objects()))


@pytest.fixture
def left() -> Iterator[Left]:
    """From now on objects go by counting references, or stay."""
    gc.unfreeze()  # what reloads of other tests have frozen
    gc.collect()
    gc.disable()
    yield Left()
    gc.enable()


def settings_of(url: str, name: str, *, header: str = "X-Client") -> dict[str, Any]:
    return {
        "upstreams": [{"name": "up", "targets": [{"url": url}]}],
        "apis": [{
            "name": "a", "base_path": "/",
            "pre_flow": {"request": [
                {"policy": "rate-limit", "with": {"limit": 1000, "per": "1m", "by": "ip"}},
                {"policy": "set-headers", "with": {"set": {header: "{client.ip}"}}},
            ]},
            "conditional_flows": [{"name": "some", "when": 'request.method == "GET"', "request": []}],
            "routes": [
                {"name": name, "match": {"path_prefix": "/", "when": 'request.query["x"] == ""'}, "upstream": "up"},
            ],
        }],
    }


KINDS = (Deployment, Draft, Plan)
# Its plans: of the route, and of what matches none.
ONE = [1, 1, 2]


@pytest_twisted.ensureDeferred
async def test_it_goes_without_the_collector(stage: Stage, left: Left) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(settings_of(origin.url, "r"))
    gc.unfreeze()  # what it began with is settled then, and has to go as well
    for number in range(4):
        gateway.write(settings_of(origin.url, f"r{number}"))
        assert (await gateway.reload())["taken"]
        assert (await stage.ask("GET", "/")).status == 200
    # Once its exchanges are logged.
    await until(lambda: left(*KINDS) == ONE, "the newest alone is left")


@pytest_twisted.ensureDeferred
async def test_what_steers_an_upstream_goes_without_it_too(
    stage: Stage, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STICKY", "0123456789abcdef")
    origin, copy = await stage.origin(), await stage.origin()
    names = NameServer()
    names.offer("_http._tcp.one.test", (1, 1, "localhost", origin.port), ttl=60)

    def settings(name: str) -> dict[str, Any]:
        settings = settings_of("http+srv://_http._tcp.one.test", name)
        settings["upstreams"][0]["targets"] += [
            {"url": copy.url, "role": "mirror"}, {"name": "new", "url": origin.url, "role": "canary"},
        ]
        settings["upstreams"][0]["sticky"] = {"secret": "${env:STICKY}"}
        return {**settings, "references": {"env": ["STICKY"]}, "resolver": {"servers": [names.address]}}

    kinds = (*KINDS, ServiceTargets, CompiledUpstream, Balancer)
    gateway = await stage.serve(settings("r"))
    gc.unfreeze()
    for number in range(4):
        gateway.write(settings(f"r{number}"))
        assert (await gateway.reload())["taken"]
        assert (await stage.ask("GET", "/")).status == 200
    # The upstream, and the one that copies are sent by.
    await until(lambda: left(*kinds) == [*ONE, 1, 2, 1], lambda: left(*kinds))
    assert len(copy.asked) == 4
    await names.close()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("header", ["not a name", "X-{"])
async def test_what_was_refused_goes_without_it_too(stage: Stage, left: Left, header: str) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(settings_of(origin.url, "r"))
    gc.unfreeze()
    for number in range(3):
        gateway.write(settings_of(origin.url, f"r{number}", header=header))
        assert not (await gateway.reload())["taken"]
    await until(lambda: left(*KINDS) == ONE, "what runs alone is left")


@pytest_twisted.ensureDeferred
async def test_members_go_in_turns() -> None:
    asked: list[int] = []
    members: list[object] = [object() for _ in range(1050)]

    def turn() -> Deferred[None]:
        asked.append(len(members))
        return succeed(None)

    ticks = itertools.count()
    means = SimpleNamespace(turn=turn, clock=SimpleNamespace(monotonic=lambda: next(ticks) * SLICE * 0.4))
    await let_go(members, cast(Means, means))
    assert members == [] and asked[0] == 1050 and len(asked) > 2
    assert asked == sorted(asked, reverse=True)
