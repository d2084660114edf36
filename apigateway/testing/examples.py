"""Runs the examples of a policy file: they are its documentation, and its first tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apigateway.errors import ConfigurationRefused
from apigateway.flow.kinds import Call, Example, Place
from apigateway.flow.registry import Registered, Registry, discover
from apigateway.testing.harness import Answer, Gateway
from apigateway.wire.headers import Headers


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What came of an example. failures: a sentence each; none where every call held."""

    title: str
    failures: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every call held."""
        return not self.failures


def run_examples(registered: Registered, registry: Registry | None = None) -> list[ExampleResult]:
    """Run every example, each in a gateway of its own. registry: see `registry_with`."""
    known = registry_with(registered) if registry is None else registry
    return [run_example(registered.kind.name, example, known) for example in registered.examples]


def run_example(kind: str, example: Example, registry: Registry) -> ExampleResult:
    """Run one example: its calls one after the other."""
    try:
        gateway = gateway_of(kind, example, registry)
    except ConfigurationRefused as refused:
        return ExampleResult(example.title, tuple(map(str, refused.problems)))
    failures: list[str] = []
    for number, call in enumerate(example.calls, 1):
        answer = play(gateway, call)
        failures += (f"call {number} ({call.method} {call.target}): {failure}" for failure in unlike(call, answer))
    gateway.close()
    return ExampleResult(example.title, tuple(failures))


def registry_with(registered: Registered) -> Registry:
    """All kinds that are found, and this one, which comes first where there are two of its name."""
    found = discover()
    others = (found.get(name) for name in found.names() if name != registered.kind.name)
    return Registry([registered, *(other for other in others if other is not None)])


def gateway_of(kind: str, example: Example, registry: Registry, **step: Any) -> Gateway:
    """A gateway set up as an example says; step: more of the example's own step, as in a configuration."""
    own: Mapping[str, Any] = {"policy": kind, "with": dict(example.settings), **step}
    steps = [own, *example.then]
    return Gateway(_flows(example.place, list(example.before), steps), consumers=example.consumers, registry=registry)


def _flows(place: Place, before: list[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if place == "request":
        return {"pre_flow": {"request": [*before, *steps]}}
    if place == "response":
        return {"pre_flow": {"request": before, "response": steps}}
    return {"pre_flow": {"request": before}, "error_flow": steps}


def play(gateway: Gateway, call: Call) -> Answer:
    """One call of an example."""
    return gateway.call(
        call.method, call.target, headers=call.headers, body=call.body, client=call.client, after=call.after,
        upstream=call.upstream,
    )


def unlike(call: Call, answer: Answer) -> Iterator[str]:
    """Where an answer is not what a call says has to come of it."""
    if call.status is not None and answer.status != call.status:
        yield f"status is {answer.status}, not {call.status}{_why(answer)}"
    yield from _unlike_fields("the answer", call.fields, answer.headers)
    if call.contains and call.contains.encode() not in answer.body:
        yield f"the body does not hold {call.contains!r}: {answer.body[:200]!r}"
    sent = answer.sent
    if call.sent is not None and (sent is not None) != call.sent:
        yield "the upstream was not called" if call.sent else "the upstream was called"
    if sent is None:
        if call.sent_target is not None or call.sent_fields or call.sent_body is not None:
            yield f"nothing was sent to the upstream{_why(answer)}"
        return
    if call.sent_target is not None and sent.target != call.sent_target.encode("latin-1"):
        yield f"the upstream got the target {sent.target!r}, not {call.sent_target!r}"
    yield from _unlike_fields("the request sent", call.sent_fields, sent.headers)
    if call.sent_body is not None and sent.body != call.sent_body:
        yield f"the upstream got the body {sent.body[:200]!r}, not {call.sent_body[:200]!r}"


def _unlike_fields(where: str, wanted: Mapping[str, str | None], headers: Headers) -> Iterator[str]:
    for name, value in wanted.items():
        lines = headers.get_all(name.lower().encode("latin-1"))
        if value is None:
            if lines:
                yield f"{where} has {name}: {lines!r}"
        elif lines != value.encode("latin-1").split(b"\n"):
            yield f"{where} has {name}: {lines!r}, not {value!r}"


def _why(answer: Answer) -> str:
    fault = answer.fault
    return "" if fault is None else f" ({fault.kind.slug}: {fault.private or fault.public})"
