"""Fault 34, secrets: whatever goes wrong, none of them is in a log, nor in what a process says."""

from __future__ import annotations

import hashlib
import signal

from gateway_process import GatewayProcess, fetched, process_on
from pytest_twisted import ensureDeferred
from toolkit.client import connect, request
from toolkit.origin import Asked
from toolkit.settings import Settings, api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import until

# Each is told apart from all other text.
KEY, WRONG_KEY, TOKEN, BEARER, COOKIE, BODY, ANSWER, OPERATOR, WRITTEN = SECRETS = [
    f"s3cr3t-{number}-of-nine" for number in range(9)
]
POLICY = '''\
"""Signs with a secret, or fails while it has it at hand."""

from pydantic import Field, SecretStr
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    """What it signs with."""

    token: SecretStr = Field(description="The secret.")
    size: int = Field(default=1, ge=1, le=9, description="How much of it.")


@implementer(IOnRequest)
class Sign:
    """Signs."""

    def __init__(self, config):
        self._config = config

    def provision(self, services):
        """Nothing to prepare."""

    def close(self):
        """Nothing to let go of."""

    def on_request(self, exchange):
        """Fail, with the secret in a variable, and in the settings that are shown."""
        secret = self._config.token.get_secret_value()
        if exchange.request.headers.get(b"x-fail") is not None:
            raise RuntimeError(f"cannot sign by {self._config!r} {len(secret)}")


KIND = kind("sign", config=Config, policy=Sign)
EXAMPLES = (Example("It signs", {"token": "t"}, (Call(status=200),)),)
'''


def settings_for(origin: object, **sign: object) -> Settings:
    """An Api that asks for a key and signs with a secret of the environment."""
    flow = steps(
        step("api-key", header="X-Key"),
        step("sign", token="${env:SIGN_TOKEN}", **sign),
    )
    by_query = steps(step("api-key", query="key"))
    consumers = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}]
    apis = [
        api(pre_flow=flow),
        api(route(), name="query", base_path="/query", pre_flow=by_query),
    ]
    return {
        **simple(origin, *apis, up={"retry": {"attempts": 1}}),  # type: ignore[arg-type]
        "consumers": consumers, "policy_paths": ["policies"], "references": {"env": ["SIGN_TOKEN"]},
    }  # fmt: skip


def break_off(asked: Asked) -> None:
    """Fail in the way that the path says, with secrets on the way."""
    answers = {
        "/reset": b"",
        "/nonsense": b"HTTP/1.1 two hundred %b\r\n\r\n" % ANSWER.encode(),
        "/split": b"HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nX : y\r\n\r\n" % ANSWER.encode(),
        "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nSet-Cookie: a\r\n\r\n%b" % ANSWER.encode(),
    }
    asked.send(answers[asked.target.partition("?")[0].removeprefix("/query")])
    asked.connection.close()


async def provoke(stage: Stage, gateway: GatewayProcess) -> None:
    """Everything that is worth a line."""
    carried = (f"X-Key: {KEY}", f"Authorization: Bearer {BEARER}", f"Cookie: session={COOKIE}")
    for target in ("/reset", "/nonsense", "/split"):
        assert (await stage.ask("POST", target, *carried, body=BODY.encode())).status == 502
    cut = await stage.client()
    cut.send(request("GET", "/short", *carried))
    await cut.gone()
    assert (await stage.ask("POST", "/", *carried, "X-Fail: 1", body=BODY.encode())).status == 500
    assert (await stage.ask("GET", "/", f"X-Key: {WRONG_KEY}", f"Cookie: {COOKIE}")).status == 401
    assert (await stage.ask("GET", f"/query/reset?key={KEY}")).status == 502
    bad = await stage.client()
    bad.send(f"GET / HTTP/1.1\r\nHost: a b\r\nAuthorization: Bearer {BEARER}\r\nX-Key: {KEY}\r\n\r\n".encode())
    assert (await bad.answer()).status == 400
    intruder = await connect(gateway.management)
    answer = await intruder.ask("GET", "/v1/worker/config", f"Authorization: Bearer {OPERATOR}")
    assert answer.status in (401, 403)
    intruder.close()


async def refused(gateway: GatewayProcess) -> None:
    """Have it take its file, and wait until it has said that it does not."""
    before = len(gateway.events())
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: any("refused" in event["message"] for event in gateway.events()[before:]))


@ensureDeferred
async def test_no_secret_is_told_whatever_goes_wrong(stage: Stage) -> None:
    (stage.folder / "policies").mkdir()
    (stage.folder / "policies" / "sign.py").write_text(POLICY)
    origin = await stage.origin(break_off)
    gateway = await process_on(stage, settings_for(origin), SIGN_TOKEN=TOKEN)
    await provoke(stage, gateway)
    await gateway.event("a policy failed")

    # Files that are refused, with a secret written out beside what is wrong, and in it.
    for bad in ({"size": 10}, {"token": [WRITTEN]}, {"sise": WRITTEN}):
        sign = step("sign", **{"token": WRITTEN, **bad})
        gateway.write({**settings_for(origin), "apis": [api(pre_flow=steps(sign))]})
        await refused(gateway)
    gateway.file.write_text(f"version: 1\napis:\n  - {{name: x, token: {WRITTEN}\n")
    await refused(gateway)
    shown = (await gateway.told("/v1/worker/config")).body.decode()
    assert await fetched(await stage.client(), "/", "X-Key: nobody") == 401
    await gateway.line(lambda line: line["target"] == "/" and line["status"] == 401)
    pid = gateway.process
    await gateway.stop()
    assert pid.returncode == 0

    said = {path.name: path.read_text() for path in map(gateway.folder.joinpath, ("error.log", "access.log", "output"))}
    said["configuration"] = shown
    assert "refused" in said["error.log"] and "RuntimeError" in said["error.log"]
    found = [(name, secret) for name, text in said.items() for secret in SECRETS if secret in text]
    assert found == []


@ensureDeferred
async def test_a_start_that_is_refused_tells_no_secret(stage: Stage) -> None:
    (stage.folder / "policies").mkdir()
    (stage.folder / "policies" / "sign.py").write_text(POLICY)
    origin = await stage.origin()
    stage.gateway = gateway = GatewayProcess(stage.folder)
    gateway.write(settings_for(origin, size=10))
    try:
        await gateway.start(SIGN_TOKEN=TOKEN)
    except AssertionError:
        process, gateway.process = gateway.process, None  # type: ignore[assignment]
    else:
        raise AssertionError("it started")
    await until(lambda: process.poll() is not None, within=10.0)
    assert process.returncode == 1
    assert "/with/size" in gateway.output()
    assert not [secret for secret in SECRETS if secret in gateway.output()]
