"""What an exchange that ends with a fault leaves behind: nothing that only the collector would find. An exception holds
the frames it came through, and among them is often who keeps it."""

from __future__ import annotations

from collections import Counter

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.garbage import garbage, no_collector
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import until

__all__ = ["no_collector"]

SOME = 5
POLICY = '''"""Ends exchanges in every way there is."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.faults import LIMITED, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.store_calls import when_answered
from apigateway.ports.interfaces import StoreUnavailable


class Config(Settings):
    """Nothing to set."""


def soon(value):
    later = Deferred()
    reactor.callLater(0.001, later.callback if value is None else later.errback, value)
    return later


def refuse(_):
    try:
        raise KeyError("why")
    except KeyError as error:
        raise Fault(LIMITED) from error


async def refused_later():
    await soon(None)
    refuse(None)


async def fails_later():
    await soon(None)
    raise ValueError("a defect")


WAYS = {
    b"fault": lambda: refuse(None),
    b"fault-later": refused_later,
    b"decided-later": lambda: when_answered(soon(None), refuse, refuse),
    b"store-away": lambda: when_answered(soon(StoreUnavailable("away")), refuse, refuse),
    b"defect": lambda: {}["a defect"],
    b"defect-later": fails_later,
    b"never": lambda: when_answered(Deferred(), refuse, refuse),
}


@implementer(IOnRequest)
class Ends:
    """By the header X-Way."""

    def __init__(self, config):
        pass

    def provision(self, services):
        pass

    def close(self):
        pass

    def on_request(self, exchange):
        way = WAYS.get(exchange.request.headers.get(b"x-way"))
        return None if way is None else way()


KIND = kind("ends", config=Config, policy=Ends)
EXAMPLES = (Example("it lets others pass", {}, (Call(status=200),)),)
'''
STATUS = {
    "fault": 429, "fault-later": 429, "decided-later": 429, "store-away": 429, "defect": 500, "defect-later": 500,
    "never": 500, "limit": 429, "nothing": 404,
}


async def ends(stage: Stage, client: Client, way: str) -> None:
    """One exchange that ends so; "leaves": by the client, while the policy is waited for."""
    line = f"X-Way: {'never' if way == 'leaves' else way}"
    client.send(request("GET", f"/{way}", line, host="nothing.test" if way == "nothing" else "a.test"))
    if way == "leaves":
        connections = stage.gateway.worker.bound[0].listener.connections
        await until(lambda: any(one._machine is not None and one._machine.waiting for one in connections))
        client.reset()
    else:
        await until(lambda: f" {STATUS[way]} ".encode() in client.unread)
        client.close()


@pytest.mark.parametrize("way", [*STATUS, "leaves"])
@ensureDeferred
async def test_a_fault_leaves_nothing_behind(stage: Stage, no_collector: None, way: str) -> None:
    (stage.folder / "policies").mkdir()
    (stage.folder / "policies" / "ends.py").write_text(POLICY)
    origin = await stage.origin()
    flow = steps({**step("ends"), "timeout": "30ms" if way == "never" else "4s"})
    limited = route("/limit", name="limited", pre_flow=steps(step("rate-limit", limit=1, per="1h", by="api")))
    settings = simple(
        origin, api(route(pre_flow=flow), limited, hosts=["a.test"]), policy_paths=["policies"]
    )
    gateway = await stage.serve(settings)
    if way == "limit":
        assert (await stage.ask("GET", "/limit", host="a.test")).status == 200

    async def some() -> None:
        for _ in range(SOME):
            await ends(stage, await stage.client(), way)
        await until(lambda: not gateway.worker.bound[0].listener.connections, "all are gone")

    await some()
    garbage()
    await some()
    assert garbage() == Counter()
