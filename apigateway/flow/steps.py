"""A step made ready: the policy object, what the machine has to know of it, and the wrappers its settings ask for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.interfaces import ICondition
from apigateway.flow.outcome import Outcome, Reply, Verdict
from apigateway.ports.interfaces import IMetrics

Hook = Callable[[Exchange], Any]


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What logs, metrics and `plan` say of a step. pointer: where it stands in the configuration."""

    name: str
    kind: str
    place: str
    pointer: str
    timeout: float = 5.0
    shadow: bool = False
    lenient: bool = False
    api: str = ""
    route: str = ""


class Jump(int):
    """Outcome of a gate: the index of the entry to go on with. A class of its own, so that no number that a policy
    returns by mistake passes over the steps behind it."""


class NeedBody:
    """Outcome of an entry that cannot go on before the request body is complete, at most `max` octets of it.

    spared: it stands for a step in the shadow, which refuses nothing: where the body is larger, `jump` passes over it.
    """

    __slots__ = ("jump", "max", "spared")

    def __init__(self, max_octets: int, spared: StepInfo | None = None) -> None:
        self.max = max_octets
        self.spared = spared
        self.jump = Jump(0)

    def __call__(self, exchange: Exchange) -> NeedBody | None:
        body = exchange.request.body
        return self if body is None or len(body.data) > self.max else None


class NeedResponseBody:
    """Outcome of a response entry that cannot go on before the response body is complete, at most `max` octets of it.
    spared: it stands for a step in the shadow, which is passed over where the body is larger."""

    __slots__ = ("max", "spared")

    def __init__(self, max_octets: int, spared: StepInfo | None = None) -> None:
        self.max = max_octets
        self.spared = spared

    def __call__(self, exchange: Any) -> NeedResponseBody | None:
        response = exchange.response
        if response.bodiless or (response.body is not None and len(response.body.data) <= self.max):
            return None
        return self


class Gate:
    """Entry in front of what only runs under a condition: jumps over it where the condition does not hold, and leaves
    its bit in `exchange.gates` where it does, for the response direction. spared: as in NeedBody, where it fails."""

    __slots__ = ("bit", "condition", "jump", "spared")

    def __init__(self, condition: ICondition, bit: int, spared: StepInfo | None = None) -> None:
        self.condition = condition
        self.bit = bit
        self.spared = spared
        self.jump = Jump(0)

    def __call__(self, exchange: Exchange) -> Jump | None:
        try:
            held = self.condition.holds(exchange)
        except Exception as error:
            if self.spared is None:
                raise
            exchange.note(f"shadow.{self.spared.name}", verdict_of(error))
            return self.jump
        if not held:
            return self.jump
        exchange.gates |= self.bit
        return None


def gated(hook: Hook, mask: int) -> Hook:
    """A response hook that runs only where the gates it stands behind were passed on the request."""
    if not mask:
        return hook

    def passed(exchange: Exchange) -> Any:
        return hook(exchange) if exchange.gates & mask == mask else None

    return passed


def conditional(hook: Callable[..., Any], condition: ICondition | None) -> Callable[..., Any]:
    """A hook of the response, error or log direction with a `when` of its own."""
    if condition is None:
        return hook

    def held(exchange: Exchange, *told: Any) -> Any:
        return hook(exchange, *told) if condition.holds(exchange) else None

    return held


def with_body_only(hook: Hook) -> Hook:
    """A response hook of a kind that works on the body: there is none after HEAD, in 204 and 304."""

    def passed(exchange: Exchange) -> Any:
        response = exchange.response
        return None if response is None or response.bodiless else hook(exchange)

    return passed


def enforced(hook: Hook, info: StepInfo, metrics: IMetrics) -> Hook:
    """The hook as its step's settings want it: plain, lenient, or in the shadow."""
    if info.shadow:
        return _shadow(hook, info, metrics)
    return _lenient(hook, info, metrics) if info.lenient else hook


def _lenient(hook: Hook, info: StepInfo, metrics: IMetrics) -> Hook:
    """`on_error: continue`: an error of the policy is counted and passed over; a Fault is a verdict, not an error."""

    def failed(failure: Failure) -> None:
        failure.trap(Exception)
        if failure.check(Fault):
            failure.raiseException()
        metrics.step_outcome(info.name, info.kind, "error-continued")

    def call(exchange: Exchange) -> Outcome:
        try:
            outcome = hook(exchange)
            if outcome is None or isinstance(outcome, Reply):
                return outcome
            waiting = as_deferred(outcome)
        except Fault:
            raise
        except Exception:
            failed(Failure())
            return None
        return waiting.addErrback(failed)

    return call


def _shadow(hook: Hook, info: StepInfo, metrics: IMetrics) -> Hook:
    """`mode: shadow`: what the step would have done is noted; the message is put back as it was."""

    def said(exchange: Exchange, verdict: str) -> None:
        name = f"shadow.{info.name}"
        if verdict != "pass" or exchange.notes is None or name not in exchange.notes:
            exchange.note(name, verdict)  # of its two hooks, what the one objected to stays
        metrics.step_outcome(info.name, info.kind, f"shadow-{verdict.split(' ')[0]}")

    def call(exchange: Exchange) -> Outcome:
        restore = _snapshot(exchange)

        def settled(result: Any) -> None:
            restore()
            said(exchange, _verdict(result))

        try:
            outcome = hook(exchange)
            if outcome is None or isinstance(outcome, Reply):
                settled(outcome)
                return None
            waiting = as_deferred(outcome)
        except Exception:
            settled(Failure())
            return None
        return waiting.addBoth(settled)

    return call


def _verdict(result: Any) -> str:
    if isinstance(result, Failure):
        return verdict_of(result.value)
    return f"reply {result.status}" if isinstance(result, Reply) else "pass"


def verdict_of(error: BaseException | None) -> str:
    """What an exception that a hook raised would have done, for the note of a step in the shadow."""
    return f"fault {error.kind.slug}" if isinstance(error, Fault) else f"error {type(error).__name__}"


def _snapshot(exchange: Exchange) -> Callable[[], None]:
    """Remember head, body and identity; the function returned puts them back."""
    request, response, identity = exchange.request, exchange.response, exchange.identity
    lines, method, target = list(request.headers.lines), request.method, request.target
    authority, withheld = request.authority, request.withheld
    request_body = request.body
    response_body = None if response is None else response.body
    bodies = [(body, body.data) for body in (request_body, response_body) if body is not None]
    slots = None if exchange.slots is None else dict(exchange.slots)
    answer = None if response is None else (response.status, list(response.headers.lines))

    def restore() -> None:
        request.headers.lines[:] = lines
        request.method, request.authority, request.withheld = method, authority, withheld
        request.retarget(target)
        for body, octets in bodies:
            if body.data is not octets:
                body.data = octets
        request.body = request_body
        exchange.identity, exchange.slots = identity, slots
        if response is not None and answer is not None:
            response.status = answer[0]
            response.headers.lines[:] = answer[1]
            response.body = response_body
        exchange.response = response

    return restore


def as_deferred(awaitable: Awaitable[Verdict] | Deferred[Verdict]) -> Deferred[Any]:
    """A Deferred of what a hook returned instead of an outcome; TypeError for what can never become one."""
    if isinstance(awaitable, Deferred):
        return awaitable
    if inspect.iscoroutine(awaitable):
        return Deferred.fromCoroutine(awaitable)
    if inspect.isawaitable(awaitable):
        # A Future of asyncio, which this floor does not import. That of a thread has the method, and is no awaitable.
        if hasattr(awaitable, "add_done_callback"):
            return Deferred.fromFuture(cast(Any, awaitable))
        return Deferred.fromCoroutine(_awaited(awaitable))
    raise TypeError(f"a hook returned {type(awaitable).__name__}: neither None, a Reply nor an awaitable")


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
