"""What a gateway says of what it did: answers, access log, metrics, management calls."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.gateway import MANAGEMENT_HASH, MANAGEMENT_TOKEN
from toolkit.message import Answer
from toolkit.origin import Asked, answering
from toolkit.settings import Settings, api, route, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import turn

CONSUMERS = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
MANAGED: Settings = {
    "management": {"address": "127.0.0.1:0", "tokens": [{"name": "ops", "sha256": MANAGEMENT_HASH}]}
}


@ensureDeferred
async def test_an_unknown_key_gets_401_as_problem_json(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(step("api-key"))), consumers=CONSUMERS))
    client = await stage.client()
    for lines in ((), ("X-API-Key: nobody's",)):
        answer = await client.ask("GET", "/", *lines)
        assert (answer.status, answer.kind) == (401, "unauthenticated")
        assert answer.get("www-authenticate") == 'ApiKey realm="api"'
        assert answer.json["status"] == 401 and answer.json["instance"].startswith("urn:exchange:")
    assert (await client.ask("GET", "/", "X-API-Key: k1")).status == 200
    assert len(origin.asked) == 1


@ensureDeferred
async def test_the_limit_gives_429_with_retry_after_and_ends(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(
        step("api-key"), step("rate-limit", limit=3, per="1s", by="consumer", algorithm="fixed-window")
    )
    await stage.serve(simple(origin, api(pre_flow=flow), consumers=CONSUMERS))
    client = await stage.client()
    answers = [await client.ask("GET", "/", "X-API-Key: k1") for _ in range(8)]
    refused = [answer for answer in answers if answer.status == 429]
    # A window may end in between, and lets up to three more pass then.
    assert 2 <= len(refused) <= 5 and {answer.status for answer in answers} == {200, 429}
    for answer in refused:
        assert answer.kind == "rate-limited" and answer.get("retry-after") == "1"
    await turn(1.05)
    assert (await client.ask("GET", "/", "X-API-Key: k1")).status == 200


@ensureDeferred
async def test_a_line_of_the_access_log(stage: Stage) -> None:
    async def slow(asked: Asked) -> None:
        await asked.read()
        await turn(0.05)
        asked.answer(201, b"made it")

    origin = await stage.origin(slow)
    flow = steps(step("api-key"))
    await stage.serve(
        simple(
            origin,
            api(route("/v", name="items"), name="shop", base_path="/s", pre_flow=flow),
            consumers=CONSUMERS,
        )
    )
    client = await stage.client()
    await client.ask(
        "POST", "/s/v/1?q=%20", "X-API-Key: k1", 'User-Agent: t"est', "Referer: http://a.test/", body=b"12345"
    )
    line = await stage.gateway.line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]+", line.pop("id"))
    durations = line.pop("duration_ms")
    assert 45 < durations["upstream"] <= durations["total"] < 1000
    assert durations["policies"] >= 0 and durations["response"] >= 0
    assert line == {
        "client": "127.0.0.1",
        "consumer": "acme",
        "method": "POST",
        "scheme": "http",
        "host": "gw.test",
        "target": "/s/v/1?q=%20",
        "version": "1.1",
        "status": 201,
        "octets_in": 5,
        "octets_out": 7,
        "api": "shop",
        "route": "items",
        "api_version": line["api_version"],
        "upstream": "up",
        "target_name": "o1",
        "attempts": 1,
        "listener": "public",
        "user_agent": 't"est',
        "referer": "http://a.test/",
    }


@ensureDeferred
async def test_every_exchange_has_one_line_and_faults_say_whose_they_were(stage: Stage) -> None:
    origin, gone = await stage.origin(), await stage.origin()
    gone.stop()
    settings = {
        "upstreams": [upstream(origin), upstream(gone, name="gone")],
        "apis": [
            api(
                route("/ok"),
                route("/gone", name="gone", to="gone"),
                pre_flow=steps(step("api-key", anonymous=True)),
            )
        ],
    }
    await stage.serve(settings)
    client = await stage.client()
    for target in ("/ok", "/gone", "/nowhere", "/ok"):
        await client.ask("GET", target)
    await client.ask("GET", "/ok", "X-API-Key: bad")
    client.send(b"\x00\r\n\r\n")
    await client.rest()
    await stage.gateway.line(lambda line: line["method"] == "-")
    lines = [(one["target"], one["status"], one.get("fault")) for one in stage.gateway.access()]
    assert lines == [
        ("/ok", 200, None),
        ("/gone", 502, {"type": "connect-failed", "whose": "upstream", "step": ""}),
        ("/nowhere", 404, {"type": "no-route", "whose": "client", "step": ""}),
        ("/ok", 200, None),
        ("/ok", 401, {"type": "unauthenticated", "whose": "client", "step": "api-key"}),
        ("", 400, {"type": "bad-request", "whose": "client", "step": ""}),
    ]
    event = await stage.gateway.event("The upstream could not be reached", upstream="gone", target="o2")
    assert "refused" in event["private"].lower()


@ensureDeferred
async def test_metrics_are_scraped_without_a_token(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(step("rate-limit", limit=2, per="1m", by="ip"))
    gateway = await stage.serve(simple(origin, api(pre_flow=flow), **MANAGED))
    client = await stage.client()
    for _ in range(3):
        await client.ask("GET", "/", body=b"abc")
    await gateway.reload()
    answer = await stage.ask("GET", "/metrics", place=gateway.management)
    assert (answer.status, (answer.get("content-type") or "").split(";")[0]) == (200, "text/plain")
    numbers = dict(
        line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if line[:1] not in ("#", "")
    )

    def number(name: str, **labels: str) -> float:
        wanted = [
            key
            for key in numbers
            if key.split("{")[0] == name and all(f'{k}="{v}"' in key for k, v in labels.items())
        ]
        assert len(wanted) == 1, (name, labels, [key for key in numbers if key.startswith(name)])
        return float(numbers[wanted[0]])

    assert number("apigateway_requests_total", api="api", route="all", status="200") == 2
    assert number("apigateway_requests_total", api="api", route="all", status="429") == 1
    assert number("apigateway_request_duration_seconds_count", api="api", phase="total") == 3
    assert number("apigateway_upstream_attempts_total", upstream="up", target="o1", result="ok") == 2
    assert number("apigateway_upstream_connections", target="o1", state="idle") == 1
    assert number("apigateway_target_healthy", target="o1") == 1
    assert number("apigateway_reloads_total", result="taken") == 2
    assert number("apigateway_connections", listener="public") == 1
    assert number("apigateway_faults_total", type="rate-limited") == 1
    assert (
        sum(
            float(value)
            for key, value in numbers.items()
            if key.startswith("apigateway_limit_decisions_total")
        )
        == 3
    )
    assert any(key.startswith("apigateway_loop_lag_seconds") for key in numbers)
    assert number("apigateway_revision_info") == 1


@ensureDeferred
async def test_management_calls_show_the_worker_and_take_a_token(stage: Stage) -> None:
    origins = [await stage.origin(), await stage.origin()]
    gateway = await stage.serve(
        {
            "upstreams": [upstream(*origins)],
            "apis": [api(pre_flow=steps(step("api-key")))],
            "consumers": CONSUMERS,
            **MANAGED,
        }
    )

    async def call(method: str, path: str, token: str = MANAGEMENT_TOKEN) -> Answer:
        lines = [f"Authorization: Bearer {token}"] if token else []
        body: Any = b"" if method == "POST" else None
        return await stage.ask(method, path, *lines, place=gateway.management, body=body)

    for path in ("/v1/worker/status", "/v1/worker/config", "/v1/worker/upstreams"):
        assert (await call("GET", path, "")).status == 401
        assert (await call("GET", path, "wrong")).status == 401
        assert (await call("GET", path)).status == 200
    assert (await call("GET", "/livez", "")).status == 200
    status = (await call("GET", "/v1/worker/status")).json
    assert status["revision"] == gateway.worker.driver.revision.digest and status["ready"]
    shown = (await call("GET", "/v1/worker/config")).body
    assert CONSUMERS[0]["api_keys"][0]["sha256"].encode() not in shown  # type: ignore[index]
    drained = await call("POST", "/v1/worker/upstreams/up/targets/o1/drain")
    assert (drained.status, drained.json["draining"]) == (200, True)
    for _ in range(4):
        assert (await stage.ask("GET", "/", "X-API-Key: k1")).status == 200
    assert [len(origin.asked) for origin in origins] == [0, 4]
    explained = (await call("GET", "/v1/worker/explain?method=GET&url=http://gw.test/x")).json
    assert "api-key" in str(explained) and "draining" in str(explained) and "o2" in str(explained)
    assert len(origins[1].asked) == 4


@pytest.mark.parametrize("body", [b"x" * 10, b""])
@ensureDeferred
async def test_an_answer_of_a_policy_needs_no_upstream(stage: Stage, body: bytes) -> None:
    origin = await stage.origin(answering(500))
    redirect = route("/old", name="old", to=None, pre_flow=steps(step("redirect", to="/new", status=308)))
    maintenance = route("/down", name="down", to=None, pre_flow=steps(step("maintenance", retry_after="30s")))
    await stage.serve(simple(origin, api(redirect, maintenance)))
    client = await stage.client()
    answer = await client.ask("POST", "/old?a=1", body=body)
    assert (answer.status, answer.get("location")) in ((308, "/new"), (308, "/new?a=1"))
    answer = await client.ask("POST", "/down", body=body)
    assert (answer.status, answer.get("retry-after")) == (503, "30")
    assert origin.asked == []
