"""What every kind of policy has to keep, whatever it does: run by `apigateway test-policy` and over all kinds.

A kind is tried with the settings of each of its examples, so that they decide how much of it is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import thread_time
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from apigateway.errors import ConfigurationRefused
from apigateway.flow.faults import Fault
from apigateway.flow.kind_checks import faults_of
from apigateway.flow.kinds import Example, Kind
from apigateway.flow.registry import Registered, Registry
from apigateway.testing.examples import gateway_of, play, registry_with
from apigateway.testing.harness import Answer, Gateway
from apigateway.testing.live import Twins
from apigateway.testing.probes import PROBES, watched

# Of one exchange through the whole machine; a hook that blocks takes longer, on the slowest machine too.
SLOWEST = 0.02
# Shorter values may stand in any text.
SHORTEST_SECRET = 4


def conformance(registered: Registered, registry: Registry | None = None) -> list[str]:
    """Everything about a kind that does not hold, a sentence each."""
    known = registry_with(registered) if registry is None else registry
    problems = list(_of_file(registered))
    for example in registered.examples:
        trial = _Trial(registered.kind, example, known)
        for check in _CHECKS:
            problems += (f"{example.title}: {text}" for text in check(trial))
    return list(dict.fromkeys(problems))


def _of_file(registered: Registered) -> Iterator[str]:
    module = sys.modules.get(registered.module)
    if module is not None:
        yield from faults_of(module)
    if not registered.examples:
        yield "it has no example"
    config = registered.kind.config
    try:
        orjson.dumps(config.model_json_schema(by_alias=True, mode="serialization"))
    except Exception as error:
        yield f"its settings have no JSON Schema: {error}"


class _Trial:
    """A kind with the settings of one example."""

    def __init__(self, kind: Kind, example: Example, registry: Registry) -> None:
        self.kind, self.example, self.registry = kind, example, registry

    def gateway(self, **step: Any) -> Gateway:
        """A gateway set up as the example says."""
        return gateway_of(self.kind.name, self.example, self.registry, **step)

    def config(self) -> BaseModel:
        """The settings; ConfigurationRefused where they are none."""
        config, problems = self.registry.settings(self.kind.name, dict(self.example.settings), "/with")
        if config is None:
            raise ConfigurationRefused(problems)
        return config

    def answers(self, gateway: Gateway) -> Iterator[tuple[str, Answer]]:
        """The example's calls and then every probe, with what each is called."""
        for number, call in enumerate(self.example.calls, 1):
            yield f"call {number}", play(gateway, call)
        for name, probe in PROBES.items():
            yield name, probe(gateway)


# ---- settings and construction


def _settings(trial: _Trial) -> Iterator[str]:
    given = {**trial.example.settings, "no-such-key": 1}
    if not trial.registry.settings(trial.kind.name, given, "/with")[1]:
        yield "its settings take an unknown key"
    config = trial.config()
    for name in type(config).model_fields:
        try:
            setattr(config, name, getattr(config, name))
        except ValidationError:
            continue
        yield f"its settings can be changed: {name}"


def _construction(trial: _Trial) -> Iterator[str]:
    config = trial.config()
    before = config.model_dump_json()
    trial.kind.policy(config)  # what it imports on the way is imported now
    with watched() as seen:
        trial.kind.policy(config)
    if seen:
        yield f"its constructor does more than look at its settings: {', '.join(sorted(set(seen)))}"
    if config.model_dump_json() != before:
        yield "its constructor changes its settings"


def _same_twice(trial: _Trial) -> Iterator[str]:
    first, second = trial.gateway(), trial.gateway()
    for (name, one), (_, other) in zip(trial.answers(first), trial.answers(second), strict=True):
        if _visible(one) != _visible(other):
            yield f"made twice it does not do the same: {name}"
    _close(first)
    _close(second)


def _visible(answer: Answer) -> tuple[Any, ...]:
    sent = answer.sent
    told = None if sent is None else (sent.method, sent.target, sent.headers.lines, sent.body, sent.complete)
    # An incident's id is drawn by chance; the check of hooks tells of what it stands for.
    body = b"" if answer.fault is not None and "incident" in answer.fault.members else answer.body
    return answer.status, answer.headers.lines, body, told, answer.cut


# ---- life


def _life(trial: _Trial) -> Iterator[str]:
    gateway = trial.gateway()
    for _ in trial.answers(gateway):
        pass
    try:
        gateway.close()
    except Exception as error:
        yield f"close raises {type(error).__name__}: {error}"
    if gateway.timers.waiting():
        yield "it leaves timers behind when it is closed"


def _failed_provision(trial: _Trial) -> Iterator[str]:
    """Whatever it asks for is not to be had: it may fail, and then has to have left nothing behind."""
    twins = Twins()
    policy = trial.kind.policy(trial.config())
    try:
        result = policy.provision(_OnlyTimers(twins))
        if result is not None:
            close = getattr(result, "close", None) or getattr(result, "cancel", None)
            if close is not None:
                close()
    except Exception:
        if twins.timers.waiting():
            yield "a failed provision leaves timers behind"


def _close(gateway: Gateway) -> None:
    with suppress(Exception):  # told by _life
        gateway.close()


class _OnlyTimers:
    """Services of which time can be had, and nothing else."""

    place = api = route = environment = ""

    def __init__(self, twins: Twins) -> None:
        self.clock, self.timers = twins.clock, twins.timers

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"there is no {name} today")


# ---- hooks


def _hooks(trial: _Trial) -> Iterator[str]:
    gateway = trial.gateway()
    for name, answer in trial.answers(gateway):
        for _, message, fields in gateway.events.events:
            if message == "a policy failed":
                last = str(fields["traceback"]).rstrip().splitlines()[-1].removeprefix("builtins.")
                yield f"{name}: {fields['step']} raises {last}"
        gateway.events.events.clear()
        if not answer.status and not answer.cut:
            yield f"{name}: there was no answer"
    _close(gateway)


def _speed(trial: _Trial) -> Iterator[str]:
    gateway = trial.gateway()
    for name in ("a bare request", "a huge field", "a thousand fields", "a long target"):
        if min(_timed(PROBES[name], gateway) for _ in range(3)) > SLOWEST:
            yield f"{name} takes over {SLOWEST * 1000:g} ms: a hook may not block"
    _close(gateway)


def _timed(probe: Callable[[Gateway], Answer], gateway: Gateway) -> float:
    began = thread_time()
    probe(gateway)
    return thread_time() - began


def _guarding(trial: _Trial) -> Iterator[str]:
    if not trial.kind.guards or trial.example.place != "request":
        return
    gateway = trial.gateway(name="guard-on-trial")
    for name, answer in trial.answers(gateway):
        refused = answer.fault is not None and answer.fault.step == "guard-on-trial"
        if refused and answer.sent is not None and answer.sent.complete:
            yield f"{name}: it refuses the request, which the upstream gets all the same"
    _close(gateway)


def _shadow(trial: _Trial) -> Iterator[str]:
    """`mode: shadow`: with the step or without it, the same is sent and answered."""
    if trial.example.place == "error" or trial.example.then:
        return
    bare = Gateway({"pre_flow": {"request": list(trial.example.before)}}, consumers=trial.example.consumers,
                   registry=trial.registry)
    shadowed = trial.gateway(mode="shadow")
    for (name, one), (_, other) in zip(trial.answers(bare), trial.answers(shadowed), strict=True):
        if _visible(one) != _visible(other):
            yield f"in the shadow it changes something: {name}"
    _close(bare)
    _close(shadowed)


# ---- secrets


def _secrets(trial: _Trial) -> Iterator[str]:
    secrets = [text for text in _secrets_in(trial.config()) if len(text) >= SHORTEST_SECRET]
    if not secrets:
        return
    gateway = trial.gateway()
    told = [repr(trial.config())]
    for _, answer in trial.answers(gateway):
        told += (repr(answer.headers), answer.body.decode("latin-1"), repr(answer.exchange.notes))
        told += _texts(answer.fault)
    told += map(repr, gateway.events.events)
    _close(gateway)
    wrong = trial.registry.settings(trial.kind.name, {**trial.example.settings, "no-such-key": 1}, "/with")[1]
    told += map(str, wrong)
    if any(secret in text for secret in secrets for text in told):
        yield "it tells a secret of its settings to clients or logs"


def _texts(fault: Fault | None) -> Iterator[str]:
    if fault is not None:
        yield from (fault.public, fault.private, repr(fault.headers), repr(fault.members))


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets_in(each)


_CHECKS = (
    _settings, _construction, _same_twice, _life, _failed_provision, _hooks, _speed, _guarding, _shadow, _secrets,
)
