"""Steps as units: each step of a configuration, checked and constructed once, whatever number of plans it stands in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel

from apigateway.config.model import ConditionalFlow, Flow, Flows, Step
from apigateway.errors import Problem
from apigateway.flow.condition import compile_condition
from apigateway.flow.faults import Fault
from apigateway.flow.interfaces import (
    ICondition,
    IOnFault,
    IOnLog,
    IOnRequest,
    IOnRequestBody,
    IOnResponse,
    IOnResponseBody,
)
from apigateway.flow.kinds import NONE, BodyNeed, Kind, Need
from apigateway.flow.registry import Registry
from apigateway.flow.steps import Hook, StepInfo, enforced, verdict_of, with_body_only
from apigateway.ports.interfaces import IClock, IMetrics

Direction = Literal["request", "response", "error"]


class Unit:
    """A step made ready. Hooks are None where the policy has none or the direction does not call for them."""

    __slots__ = (
        "condition", "direction", "edits_request", "edits_response", "info", "kind", "on_error", "on_fault",
        "on_log", "on_request", "on_request_chunk", "on_response", "on_response_chunk", "policy", "request_need",
        "response_need",
    )

    def __init__(
        self, kind: Kind, info: StepInfo, config: BaseModel, policy: Any, direction: Direction,
        condition: ICondition | None, metrics: IMetrics,
    ) -> None:
        self.kind, self.info, self.policy = kind, info, policy
        self.direction: Direction = direction
        self.condition = condition
        self.request_need = _need(kind.request_body, config) if direction == "request" else NONE
        responds = direction == "response" or (direction == "request" and not kind.one_way)
        self.response_need = _need(kind.response_body, config) if responds else NONE
        self.on_request: Hook | None = None
        self.on_response: Hook | None = None
        self.on_fault: Callable[..., Any] | None = None
        self.on_error: Hook | None = None
        self.on_log: Hook | None = None
        self.on_request_chunk: ChunkHook | None = None
        self.on_response_chunk: ChunkHook | None = None
        self.edits_request = self.edits_response = False
        self._bind(policy, metrics)

    def _bind(self, policy: Any, metrics: IMetrics) -> None:
        def hook(interface: Any, name: str) -> Hook | None:
            return enforced(getattr(policy, name), self.info, metrics) if interface.providedBy(policy) else None

        if self.direction == "error":
            self.on_error = _error_hook(policy, self.info, metrics)
            return
        if self.direction == "request":
            self.on_request = hook(IOnRequest, "on_request")
            if self.request_need.mode == "stream" and IOnRequestBody.providedBy(policy):
                self.on_request_chunk = _chunk_hook(policy.on_request_chunk, self.info, metrics)
                self.edits_request = self.request_need.edits and not self.info.shadow
        if self.direction == "response" or not self.kind.one_way:
            self.on_response = hook(IOnResponse, "on_response")
        if self.on_response is not None and self.response_need.mode == "buffer":
            self.on_response = with_body_only(self.on_response)
        if self.response_need.mode == "stream" and IOnResponseBody.providedBy(policy):
            self.on_response_chunk = _chunk_hook(policy.on_response_chunk, self.info, metrics)
            self.edits_response = self.response_need.edits and not self.info.shadow
        if IOnFault.providedBy(policy) and not self.info.shadow:
            self.on_fault = policy.on_fault
        if IOnLog.providedBy(policy):
            self.on_log = policy.on_log


def _need(need: Need, config: BaseModel) -> BodyNeed:
    return need if isinstance(need, BodyNeed) else need(config)


def _error_hook(policy: Any, info: StepInfo, metrics: IMetrics) -> Hook | None:
    """In an error flow a policy is told of the fault, or, where it knows none, sees the draft as a response."""
    if IOnFault.providedBy(policy):
        told = policy.on_fault
        return enforced(lambda exchange: told(exchange, cast(Fault, exchange.fault)), info, metrics)
    return enforced(policy.on_response, info, metrics) if IOnResponse.providedBy(policy) else None


ChunkHook = Callable[[Any, bytes, bool], bytes]


def _chunk_hook(hook: ChunkHook, info: StepInfo, metrics: IMetrics) -> ChunkHook:
    if info.shadow:
        return _shadow_chunks(hook, info)
    return _lenient_chunks(hook, info, metrics) if info.lenient else hook


def _lenient_chunks(hook: ChunkHook, info: StepInfo, metrics: IMetrics) -> ChunkHook:
    """`on_error: continue`: a piece that the policy fails over goes on as it is."""

    def spared(exchange: Any, chunk: bytes, last: bool) -> bytes:
        try:
            return hook(exchange, chunk, last)
        except Fault:
            raise
        except Exception:
            metrics.step_outcome(info.name, info.kind, "error-continued")
            return chunk

    return spared


def _shadow_chunks(hook: ChunkHook, info: StepInfo) -> ChunkHook:
    def watched(exchange: Any, chunk: bytes, last: bool) -> bytes:
        try:
            hook(exchange, chunk, last)
        except Exception as error:
            exchange.note(f"shadow.{info.name}", verdict_of(error))
        return chunk

    return watched


class FlowUnits:
    """A flow's units per direction."""

    __slots__ = ("request", "response")

    def __init__(self, request: tuple[Unit, ...] = (), response: tuple[Unit, ...] = ()) -> None:
        self.request = request
        self.response = response


class ConditionalUnits(FlowUnits):
    """A conditional flow's units and its condition."""

    __slots__ = ("condition", "pointer")

    def __init__(
        self, condition: ICondition, pointer: str,
        request: tuple[Unit, ...] = (), response: tuple[Unit, ...] = (),
    ) -> None:
        super().__init__(request, response)
        self.condition, self.pointer = condition, pointer


class HolderUnits:
    """The units of what flows are attached to: the gateway, an Api, or a route."""

    __slots__ = ("conditional", "error", "post", "pre")

    def __init__(
        self, pre: FlowUnits, conditional: tuple[ConditionalUnits, ...], post: FlowUnits, error: tuple[Unit, ...]
    ) -> None:
        self.pre, self.conditional, self.post, self.error = pre, conditional, post, error


class UnitMaker:
    """Makes the units of every holder, and keeps all of them and all problems for whoever provisions."""

    def __init__(
        self, kinds: Registry, metrics: IMetrics, clock: IClock, environment: str = "default",
        resolve: Callable[[BaseModel, str], tuple[BaseModel, list[Problem]]] = lambda model, _: (model, []),
    ) -> None:
        self._kinds, self._metrics, self._clock, self._resolve = kinds, metrics, clock, resolve
        self._environment = environment
        self._taken: set[str] = set()
        self.units: list[Unit] = []
        self.problems: list[Problem] = []

    def holder(self, flows: Flows, place: str, pointer: str) -> HolderUnits:
        """The units of a gateway, an Api or a route."""
        return HolderUnits(
            self._flow(flows.pre_flow, place, f"{pointer}/pre_flow"),
            tuple(
                made for index, flow in enumerate(flows.conditional_flows)
                if (made := self._conditional(flow, place, f"{pointer}/conditional_flows/{index}")) is not None
            ),
            self._flow(flows.post_flow, place, f"{pointer}/post_flow"),
            self._steps(flows.error_flow, "error", place, f"{pointer}/error_flow"),
        )

    def condition(self, source: str, pointer: str, *, response_side: bool = False) -> ICondition | None:
        """Compile a condition; None, and a problem, where it does not."""
        try:
            return compile_condition(
                source, response_side=response_side, clock=self._clock, environment=self._environment
            )
        except ValueError as error:
            self.problems.append(Problem(pointer, f"condition refused: {error}"))
            return None

    def _flow(self, flow: Flow, place: str, pointer: str) -> FlowUnits:
        return FlowUnits(
            self._steps(flow.request, "request", place, f"{pointer}/request"),
            self._steps(flow.response, "response", place, f"{pointer}/response"),
        )

    def _conditional(self, flow: ConditionalFlow, place: str, pointer: str) -> ConditionalUnits | None:
        condition = self.condition(flow.when, f"{pointer}/when")
        units = self._flow(flow, place, pointer)
        if condition is None:
            return None
        return ConditionalUnits(condition, pointer, units.request, units.response)

    def _steps(self, steps: Sequence[Step], direction: Direction, place: str, pointer: str) -> tuple[Unit, ...]:
        made = (self._unit(step, direction, place, f"{pointer}/{index}") for index, step in enumerate(steps))
        return tuple(unit for unit in made if unit is not None)

    def _unit(self, step: Step, direction: Direction, place: str, pointer: str) -> Unit | None:
        kind = self._kinds.kind(step.policy)
        if kind is None:
            self.problems.append(
                Problem(
                    f"{pointer}/policy", f"there is no policy {step.policy!r}", hint=self._kinds.nearest(step.policy)
                )
            )
            return None
        before = len(self.problems)
        self._check_placement(kind, step, direction, pointer)
        condition = None
        if step.when is not None:
            condition = self.condition(step.when, f"{pointer}/when", response_side=direction != "request")
        config = self._config(step, pointer)
        policy = None if config is None else self._construct(kind, config, pointer)
        if len(self.problems) > before or config is None:
            return None
        unit = Unit(kind, self._info(step, place, pointer), config, policy, direction, condition, self._metrics)
        self.units.append(unit)
        return unit

    def _check_placement(self, kind: Kind, step: Step, direction: Direction, pointer: str) -> None:
        if direction not in kind.places:
            allowed = " or ".join(sorted(kind.places))
            text = f"{kind.name} does not work under {direction}; it stands under {allowed}"
            self.problems.append(Problem(pointer, text))
        if step.on_error == "continue" and kind.guards:
            text = f"{kind.name} guards: a request may not pass it by its failing"
            self.problems.append(Problem(f"{pointer}/on_error", text))

    def _config(self, step: Step, pointer: str) -> BaseModel | None:
        config, problems = self._kinds.settings(step.policy, step.settings, f"{pointer}/with")
        if config is not None:
            config, unresolved = self._resolve(config, f"{pointer}/with")
            problems = [*problems, *unresolved]
        self.problems.extend(problems)
        return config

    def _construct(self, kind: Kind, config: BaseModel, pointer: str) -> Any:
        try:
            return kind.policy(config)
        except ValueError as error:
            self.problems.append(Problem(f"{pointer}/with", str(error)))
        except Exception as error:
            self.problems.append(Problem(pointer, f"{kind.name} failed to construct: {type(error).__name__}: {error}"))
        return None

    def _info(self, step: Step, place: str, pointer: str) -> StepInfo:
        name = step.name or step.policy
        unique, count = f"{place}/{name}", 1
        while unique in self._taken:
            count += 1
            unique = f"{place}/{name}#{count}"
        self._taken.add(unique)
        parts = place.split("/")
        return StepInfo(
            name, step.policy, unique, pointer, step.timeout, step.mode == "shadow", step.on_error == "continue",
            api=parts[1] if len(parts) > 1 else "", route=parts[3] if len(parts) > 3 else "",
        )

