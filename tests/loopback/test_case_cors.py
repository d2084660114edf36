"""RC-O24: preflights come before authentication, and errors can be read by pages too (an API key for the token)."""

from __future__ import annotations

import hashlib

import pytest
from pytest_twisted import ensureDeferred
from toolkit.message import Answer
from toolkit.origin import answering
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage

APP = "https://app.test"
CORS = step("cors", origins=[APP], methods=["GET", "PUT"], headers=["authorization"])
KEY = step("api-key", header="Authorization")
CONSUMERS = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
PREFLIGHT = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization")


# Where the steps stand.
PLACES = {
    "api": (api(route("/o", name="o"), pre_flow=steps(CORS, KEY)), {}),
    "gateway-and-api": (api(route("/o", name="o"), pre_flow=steps(KEY)), {"pre_flow": steps(CORS)}),
    "route": (
        api(
            {
                "name": "o",
                "match": {"methods": ["GET", "PUT"], "path": "/o"},
                "upstream": "up",
                "pre_flow": steps(CORS, KEY),
            }
        ),
        {},
    ),
}


@pytest.mark.parametrize("place", PLACES)
@ensureDeferred
async def test_rc_o24_preflight_is_answered_before_authentication_and_errors_carry_the_fields(
    stage: Stage, place: str
) -> None:
    origin = await stage.origin(answering(200, b"ok", "Access-Control-Allow-Origin: *", "Vary: Accept"))
    placed, more = PLACES[place]
    await stage.serve(simple(origin, placed, consumers=CONSUMERS, **more))
    client = await stage.client()

    # (a) a preflight without credentials
    answer = await client.ask("OPTIONS", "/o", f"Origin: {APP}", *PREFLIGHT)
    assert answer.status in (200, 204)
    assert allowed(answer) == APP
    assert "PUT" in (answer.get("access-control-allow-methods") or "")
    assert (answer.get("access-control-allow-headers") or "").lower() == "authorization"

    # (e) a preflight from elsewhere
    answer = await client.ask("OPTIONS", "/o", "Origin: https://evil.test", *PREFLIGHT)
    assert not [name for name in answer.names if name.startswith("access-control-")]

    # (c) no credentials, but an origin
    answer = await client.ask("PUT", "/o", f"Origin: {APP}", body=b"x")
    assert (answer.status, answer.kind, allowed(answer)) == (401, "unauthenticated", APP)
    assert not origin.asked

    # (d) credentials, and an upstream that has its own idea of CORS
    client = await stage.client()
    answer = await client.ask("PUT", "/o", f"Origin: {APP}", "Authorization: k1", body=b"x")
    assert (answer.status, allowed(answer)) == (200, APP)
    assert "origin" in ", ".join(answer.all("vary")).lower()
    # From elsewhere the answer comes, and no page may read it.
    answer = await client.ask("PUT", "/o", "Origin: https://evil.test", "Authorization: k1", body=b"x")
    assert (answer.status, answer.get("access-control-allow-origin")) == (200, None)


@pytest.mark.parametrize("place", ["api", "gateway-and-api"])
@ensureDeferred
async def test_rc_o24_b_options_without_an_origin_is_no_preflight(stage: Stage, place: str) -> None:
    origin = await stage.origin()
    placed, more = PLACES[place]
    await stage.serve(simple(origin, placed, consumers=CONSUMERS, **more))
    for lines in ((), PREFLIGHT, (f"Origin: {APP}",)):
        assert (await stage.ask("OPTIONS", "/o", *lines)).status == 401, lines
    assert (await stage.ask("OPTIONS", "/o", "Authorization: k1")).status == 200
    assert len(origin.asked) == 1


@ensureDeferred
async def test_rc_o24_what_goes_wrong_behind_the_steps_can_be_read_too(stage: Stage) -> None:
    origin = await stage.origin()
    origin.stop()
    await stage.serve(simple(origin, api(pre_flow=steps(CORS))))
    answer = await stage.ask("GET", "/o", f"Origin: {APP}")
    assert (answer.status, allowed(answer)) == (502, APP)


def allowed(answer: Answer) -> str | None:
    """The one origin that may read an answer."""
    return answer.get("access-control-allow-origin")
