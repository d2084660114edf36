"""Conformance finds what a policy file can get wrong: each kind here has one fault."""

from __future__ import annotations

import sys
import tempfile
from time import perf_counter
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from twisted.internet.defer import Deferred
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.faults import FORBIDDEN, Fault
from apigateway.flow.interfaces import IOnRequest, IOnRequestBody, IOnResponse
from apigateway.flow.kinds import STREAM, Call, Example, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.registry import Registered, Registry
from apigateway.testing import conformance


class Config(Settings):
    """Of a good kind."""

    word: str = Field(default="sesame", description="What has to be said.")


@implementer(IOnRequest)
class Good:
    """Asks for a word."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def provision(self, services: Any) -> None:
        self.services = services

    def close(self) -> None:
        pass

    def on_request(self, exchange: Any) -> Outcome:
        if exchange.request.headers.text(b"x-word") != self.config.word:
            raise Fault(FORBIDDEN)
        return None


def problems_of(policy: type, config: Any = Config, settings: dict[str, Any] | None = None, **more: Any) -> str:
    """What conformance finds, as one text."""
    made = kind("trial", config=config, policy=policy, **more)
    examples = (Example("a word", settings or {}, (Call(headers=(("X-Word", "sesame"),)),)),)
    module = ModuleType("a_policy_on_trial", "A policy.")
    module.KIND, module.EXAMPLES = made, examples  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    try:
        registered = Registered(made, examples, "A policy.", module.__name__, "", "path")
        return "\n".join(conformance(registered, Registry([registered])))
    finally:
        del sys.modules[module.__name__]


def test_a_good_kind_has_no_problem():
    assert problems_of(Good, guards=True) == ""


# ---- settings


class Open(BaseModel):
    model_config = ConfigDict(extra="ignore")
    word: str = "sesame"


def test_settings():
    found = problems_of(Good, Open)
    for text in ("not frozen", "takes unknown keys", "word has no description", "take an unknown", "can be changed"):
        assert text in found


def test_settings_that_have_no_schema():
    class Strange(Settings):
        """Has a type of its own."""

        model_config = ConfigDict(arbitrary_types_allowed=True)
        word: str = Field(default="sesame", description="What has to be said.")
        of: Good | None = Field(default=None, description="Something else.")

    assert "no JSON Schema" in problems_of(Good, Strange)


# ---- construction and life


class Opens(Good):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        with tempfile.TemporaryFile():
            pass


class Counts(Good):
    made = 0

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        type(self).made += 1
        self.number = b"%d" % type(self).made

    def on_request(self, exchange: Any) -> Outcome:
        return Reply(200, [(b"x-number", self.number)])


class FailsToClose(Good):
    def close(self) -> None:
        raise KeyError("never opened")


class LeavesATimer(Good):
    def provision(self, services: Any) -> None:
        services.timers.call_later(3600, print)


class FailsWithATimerRunning(Good):
    def provision(self, services: Any) -> None:
        services.timers.call_later(60.0, lambda: None)
        services.store.get("key")


# ---- hooks


class Raises(Good):
    def on_request(self, exchange: Any) -> Outcome:
        exchange.request.headers.text(b"x-huge").encode("ascii")
        if exchange.request.headers.text(b"user-agent").encode("latin-1").decode("utf-8"):
            return None
        return None


class NeedsAnIdentity(Good):
    def on_request(self, exchange: Any) -> Outcome:
        exchange.request.headers.set(b"x-consumer", exchange.identity.consumer.encode())
        return None


class Slow(Good):
    def on_request(self, exchange: Any) -> Outcome:
        ends = perf_counter() + (0.05 if b"x-huge" in exchange.request.headers else 0)
        while perf_counter() < ends:
            pass
        return None


class Forgets(Good):
    def on_request(self, exchange: Any) -> Outcome:
        return Deferred()


@implementer(IOnRequest, IOnResponse)
class GuardsTheAnswer(Good):
    def on_request(self, exchange: Any) -> Outcome:
        return None

    def on_response(self, exchange: Any) -> Outcome:
        raise Fault(FORBIDDEN)


class LeaksIntoTheShadow(Good):
    def on_request(self, exchange: Any) -> Outcome:
        exchange.request.version = "1.0"
        return None


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Opens, "constructor does more than look at its settings"),
        (Counts, "made twice it does not do the same"),
        (FailsToClose, "close raises KeyError"),
        (LeavesATimer, "leaves timers behind when it is closed"),
        (FailsWithATimerRunning, "a failed provision leaves timers behind"),
        (Raises, "odd octets in every field: gateway/trial raises UnicodeDecodeError"),
        (NeedsAnIdentity, "a bare request: gateway/trial raises AttributeError"),
        (Slow, "a hook may not block"),
        (LeaksIntoTheShadow, "in the shadow it changes something"),
    ],
)
def test_what_a_policy_may_get_wrong(policy, text):
    assert text in problems_of(policy)


def test_a_guard_that_refuses_when_the_upstream_has_the_request():
    assert "which the upstream gets all the same" in problems_of(GuardsTheAnswer, guards=True)


def test_a_kind_that_streams_through_and_through_is_fine():
    @implementer(IOnRequest, IOnRequestBody)
    class Streams(Good):
        def on_request_chunk(self, exchange: Any, chunk: bytes, last: bool) -> bytes:
            return chunk

    assert problems_of(Streams, request_body=STREAM) == ""


# ---- secrets


class SecretConfig(Settings):
    """Has a secret."""

    password: SecretStr = Field(description="Of the upstream.")


class TellsClients(Good):
    def on_request(self, exchange: Any) -> Outcome:
        raise Fault(FORBIDDEN, public=f"not {self.config.password.get_secret_value()}")


class TellsLogs(Good):
    def on_request(self, exchange: Any) -> Outcome:
        exchange.note("tried", self.config.password.get_secret_value())
        return None


class TellsTheUpstream(Good):
    def on_request(self, exchange: Any) -> Outcome:
        exchange.request.headers.set(b"authorization", self.config.password.get_secret_value().encode())
        return None


@pytest.mark.parametrize(("policy", "tells"), [(TellsClients, True), (TellsLogs, True), (TellsTheUpstream, False)])
def test_secrets_of_settings_stay_secret(policy, tells):
    found = problems_of(policy, SecretConfig, {"password": "swordfish"})
    assert ("tells a secret" in found) == tells
