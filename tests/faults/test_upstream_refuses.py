"""Fault 19: an upstream that cannot be reached. 502 or 504, and another target gets what was never sent.

That all targets are out, and 503 then, is RC-O14 (tests/loopback/test_case_targets.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from fault_proxy import Accepting, FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.name_server import NameServer
from toolkit.settings import simple, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, together

Proxies = Callable[..., FaultProxy]
QUICK = {"timeouts": {"connect": "200ms"}, "health": {"passive": None}}


@pytest_twisted.async_yield_fixture
async def names() -> Any:
    server = NameServer()
    yield server
    await server.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("how", "expected", "attempts"),
    [
        ("refuse", (502, "connect-failed"), 2),
        ("silence", (504, "connect-timeout"), 2),
        ("close", (502, "upstream-reset"), {"GET": 2, "POST": 1}),
    ],
)
@ensureDeferred
async def test_a_target_that_takes_no_connection(
    stage: Stage, proxies: Proxies, how: Accepting, expected: tuple[int, str], attempts: Any, method: str
) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    await stage.serve(simple(proxy, up=QUICK))
    proxy.accept(how)
    began = reactor.seconds()
    answer = await stage.ask(method, "/", body=b"5" if method == "POST" else None)
    assert ((answer.status, answer.kind), origin.asked) == (expected, [])
    assert reactor.seconds() - began < 2.0
    assert answer.get("proxy-status")
    line = await stage.gateway.line()
    assert line["attempts"] == (attempts if isinstance(attempts, int) else attempts[method])
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["active"], target["connections"]) == (0, {"idle": 0, "busy": 0})
    # Nothing of it is left: reached again, it serves.
    proxy.accept("pass")
    assert (await stage.ask(method, "/", body=b"5" if method == "POST" else None)).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["refuse", "silence"])
@ensureDeferred
async def test_what_was_never_sent_goes_to_another_target_whatever_its_method(
    stage: Stage, proxies: Proxies, how: Accepting, method: str
) -> None:
    lost, origin = await stage.origin(), await stage.origin()
    proxy = proxies((lost.address, lost.port))
    await stage.serve({**simple(proxy), "upstreams": [upstream(proxy, origin, **QUICK)]})
    proxy.accept(how)
    body = b"5" if method == "POST" else None
    for number in range(4):
        assert (await stage.ask(method, f"/{number}", body=body)).status == 200
    assert [asked.target for asked in origin.asked] == ["/0", "/1", "/2", "/3"]
    assert [asked.body for asked in origin.asked] == [body or b""] * 4


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_what_may_have_been_sent_goes_to_another_target_only_where_that_is_safe(
    stage: Stage, proxies: Proxies, how: Accepting
) -> None:
    lost, origin = await stage.origin(), await stage.origin()
    proxy = proxies((lost.address, lost.port), "lost")
    await stage.serve({**simple(proxy), "upstreams": [upstream(proxy, origin, **QUICK)]})
    proxy.accept(how)
    for number in range(4):
        assert (await stage.ask("GET", f"/{number}")).status == 200
    answers = [await stage.ask("POST", f"/pay{number}", body=b"5") for number in range(4)]
    # A reset may be seen while connecting: then nothing was sent, and it may go on.
    for number, answer in enumerate(answers):
        line = await stage.gateway.line(lambda line, number=number: line["target"] == f"/pay{number}")
        assert answer.status == 200 or (line["attempts"], line["target_name"]) == (1, "lost"), line
    if how == "close":
        assert sorted(answer.status for answer in answers) == [200, 200, 502, 502]
    assert len({asked.target for asked in origin.asked}) == len(origin.asked)


@ensureDeferred
async def test_a_name_that_cannot_be_resolved(stage: Stage, names: NameServer) -> None:
    origin = await stage.origin()
    names.fail("lost.example.test")
    lost = {"url": "http://lost.example.test:9"}
    resolver = {"servers": [names.address]}
    settings = simple(origin, resolver=resolver)
    settings["upstreams"] = [{"name": "up", "targets": [lost]}]
    await stage.serve(settings)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (502, "name-failed")
    # With another target behind it, nobody notices.
    settings["upstreams"] = [{"name": "up", "targets": [lost, {"url": origin.url}]}]
    stage.gateway.write(settings)
    assert (await stage.gateway.reload())["taken"]
    for number in range(4):
        assert (await stage.ask("POST", f"/{number}", body=b"5")).status == 200
    assert len(origin.asked) == 4


@ensureDeferred
async def test_a_target_that_answers_no_connection_holds_nobody_else_up(
    stage: Stage, proxies: Proxies
) -> None:
    lost, origin = await stage.origin(), await stage.origin()
    proxy = proxies((lost.address, lost.port))
    proxy.accept("silence")
    settings = simple(origin)
    settings["upstreams"].append(upstream(proxy, name="lost", timeouts={"connect": "2s"}, retry={"attempts": 1}))
    settings["apis"][0]["routes"].insert(
        0, {"name": "lost", "match": {"path_prefix": "/lost"}, "upstream": "lost"}
    )
    await stage.serve(settings)
    waiting = together(*(stage.ask("GET", "/lost") for _ in range(30)))
    client = await stage.client()
    for _ in range(5):
        assert (await client.ask("GET", "/", within=1.9)).status == 200
    assert not waiting.called
    assert {answer.status for answer in await waiting} == {504}
