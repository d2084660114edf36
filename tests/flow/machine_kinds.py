"""Kinds of policies that do what they are told, and the steps and configurations that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow import faults
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import FORBIDDEN, Fault
from apigateway.flow.interfaces import (
    IOnFault,
    IOnLog,
    IOnRequest,
    IOnRequestBody,
    IOnResponse,
    IOnResponseBody,
)
from apigateway.flow.kinds import NONE, STREAM, Kind, buffer, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.registry import Registered, Registry
from apigateway.flow.services import Services


def trace_of(exchange: Exchange) -> list[str]:
    """What the steps of an exchange were called for, in order."""
    notes = exchange.notes or {}
    return list(notes.get("trace", []))


class SayConfig(Settings):
    """What each hook does: see `verdict`; or "wait" for `fire`, "deaf" without a way to be called off."""

    request: str = Field(default="go", description="In on_request.")
    response: str = Field(default="go", description="In on_response.")
    fault: str = Field(default="go", description="In on_fault.")
    log: str = Field(default="go", description="In on_log.")
    name: str = Field(default="say", description="In traces, and for `fire`.")


@implementer(IOnRequest, IOnResponse, IOnFault, IOnLog)
class Say:
    """Says in each hook what its settings tell it to, and leaves a trace."""

    def __init__(self, config: SayConfig) -> None:
        self._config = config
        self._waiting: dict[str, Deferred[Any]] = {}
        self._cancelled: list[str] = []

    def provision(self, services: Services) -> None:
        self._waiting = services.shared("waiting", dict)
        self._cancelled = services.shared("cancelled", list)

    def close(self) -> None:
        self._waiting.clear()

    def on_request(self, exchange: Exchange) -> Outcome:
        return self._say("request", exchange)

    def on_response(self, exchange: Exchange) -> Outcome:
        return self._say("response", exchange)

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        return self._say("fault", exchange)

    def on_log(self, exchange: Exchange) -> None:
        self._say("log", exchange)

    def _say(self, hook: str, exchange: Exchange) -> Any:
        name = self._config.name
        exchange.note("trace", [*trace_of(exchange), f"{name}.{hook}"])
        said: str = getattr(self._config, hook)
        if said not in ("wait", "deaf"):
            return verdict(said, name)
        later: Deferred[Any] = Deferred() if said == "deaf" else Deferred(lambda _: self._cancelled.append(name))
        self._waiting[name] = later
        return later


def verdict(said: str, name: str) -> Any:
    """go, reply, empty (204), fault, error, number, or async for a coroutine that goes on."""
    if said == "fault":
        raise Fault(FORBIDDEN, public=f"{name} refuses")
    if said == "error":
        raise ValueError("the password is swordfish")
    if said == "async":
        return _goes_on()
    return {
        "go": None, "number": 7, "reply": Reply(200, [(b"x-by", name.encode())], f"reply of {name}".encode()),
        "empty": Reply(204),
    }[said]


async def _goes_on() -> None:
    return None


class WholeConfig(Settings):
    """How much of a body is wanted whole."""

    request: int = Field(default=-1, description="Octets of the request's; -1: it is not wanted.")
    response: int = Field(default=-1, description="Octets of the response's; -1: it is not wanted.")
    add: str = Field(default="", description="Put behind the body.")


@implementer(IOnRequest, IOnResponse)
class Whole:
    """Wants a body whole, and puts something behind it."""

    def __init__(self, config: WholeConfig) -> None:
        self._config = config

    def provision(self, services: Services) -> None:
        pass

    def close(self) -> None:
        pass

    def on_request(self, exchange: Exchange) -> Outcome:
        if self._config.request >= 0:
            exchange.note("request body", exchange.request.body.data.decode())
            exchange.request.body.data += self._config.add.encode()
        return None

    def on_response(self, exchange: Exchange) -> Outcome:
        if self._config.response >= 0:
            assert exchange.response is not None
            exchange.note("response body", exchange.response.body.data.decode())
            exchange.response.body.data += self._config.add.encode()
        return None


class PiecesConfig(Settings):
    """What becomes of pieces."""

    fail_on: str = Field(default="\0", description="A piece with this in it is an error.")
    fault_on: str = Field(default="\0", description="A piece with this in it is refused.")
    tail: str = Field(default="", description="Put behind the last piece.")
    lose: str = Field(default="\0", description="A piece with this in it is not passed on.")


@implementer(IOnRequestBody, IOnResponseBody)
class Pieces:
    """Writes bodies in capitals while they pass."""

    def __init__(self, config: PiecesConfig) -> None:
        self._config = config

    def provision(self, services: Services) -> None:
        pass

    def close(self) -> None:
        pass

    def on_request_chunk(self, exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        if self._config.fail_on.encode() in chunk:
            raise ValueError("cannot")
        if self._config.fault_on.encode() in chunk:
            raise Fault(faults.TOO_LARGE)
        if self._config.lose.encode() in chunk:
            return b""
        return chunk.upper() + (self._config.tail.encode() if last else b"")

    on_response_chunk = on_request_chunk


SAY = kind("say", config=SayConfig, policy=Say, places=("request", "response", "error"))
GUARD = kind("guard", config=SayConfig, policy=Say, guards=True)
WHOLE = kind(
    "whole", config=WholeConfig, policy=Whole, places=("request", "response"),
    request_body=lambda config: buffer(config.request) if config.request >= 0 else NONE,
    response_body=lambda config: buffer(config.response) if config.response >= 0 else NONE,
)
PIECES = kind(
    "pieces", config=PiecesConfig, policy=Pieces, places=("request", "response"), one_way=True,
    request_body=STREAM, response_body=STREAM,
)


def registry_of(*kinds: Kind) -> Registry:
    """A registry of these kinds only."""
    return Registry(Registered(each, (), "", "", "", "path") for each in kinds)


KINDS = registry_of(SAY, GUARD, WHOLE, PIECES)


def say(name: str, **settings: Any) -> dict[str, Any]:
    """A `say` step; `when`, `mode`, `on_error` and `timeout` are the step's, the rest the kind's settings."""
    own = {key: settings.pop(key) for key in ("when", "mode", "on_error", "timeout") if key in settings}
    return {"policy": "say", "name": name, "with": {"name": name, **settings}, **own}


def to(*targets: Mapping[str, Any] | str, flows: Mapping[str, Any] | None = None, **upstream: Any) -> dict[str, Any]:
    """A configuration with these targets of its upstream; more of the upstream by name."""
    made = [
        {"name": target, "url": f"http://{target}.test"} if isinstance(target, str) else target for target in targets
    ]
    return {"upstreams": [{"name": "upstream", "targets": made, **upstream}], **(flows or {})}
