"""Builds the plan of a route: whatever the configuration decides is decided here.

Request order: pre-flows of gateway, Api, route; conditional flows of gateway, Api, route; post-flows of gateway, Api,
route. Response order: post-flows, conditional flows, pre-flows, each of route, Api, gateway; in a flow the response
hooks of its request steps in reverse, then its `response:` steps. A `response:` step counts as reached once the
request direction has come to its flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apigateway.config.model import Api, Route
from apigateway.errors import Problem
from apigateway.flow.interfaces import ICondition
from apigateway.flow.needs import SlotCheck
from apigateway.flow.plan import Entry, Plan
from apigateway.flow.steps import Gate, Hook, Jump, NeedBody, NeedResponseBody, StepInfo, conditional, gated
from apigateway.flow.units import ConditionalUnits, FlowUnits, HolderUnits, Unit
from apigateway.flow.upstream import CompiledUpstream


@dataclass(frozen=True, slots=True)
class _Laid:
    """A flow laid out on the request direction: each unit with its index and gates."""

    flow: FlowUnits
    mask: int
    request: tuple[tuple[Unit, int, int], ...]
    response: tuple[tuple[Unit, int, int], ...]


class PlanBuilder:
    """Builds the plan of one route (or, with no Api and route, the one of requests that matched none)."""

    def __init__(
        self, gateway: HolderUnits, api: HolderUnits | None = None, route: HolderUnits | None = None,
        *, api_settings: Api | None = None, route_settings: Route | None = None, pointer: str = "",
    ) -> None:
        self._levels = tuple(level for level in (gateway, api, route) if level is not None)
        self._route = route_settings
        self._hooks: list[Hook] = []
        self._infos: list[StepInfo | None] = []
        self._bits = 0
        self.problems: list[Problem] = []
        self.plan = Plan(
            api_settings.name if api_settings else "", route_settings.name if route_settings else "",
            (api_settings.api_version or "") if api_settings else "", pointer,
        )
        self.plan.max_buffer = route_settings.max_buffer if route_settings else 0

    def build(self) -> Plan:
        """The plan without its upstream; `problems` tells what is wrong with it."""
        levels = self._levels
        slots = SlotCheck(self.problems)
        pre = [self._lay(level.pre, None, slots) for level in levels]
        middle = [[self._lay(flow, flow, slots) for flow in level.conditional] for level in levels]
        post = [self._lay(level.post, None, slots) for level in levels]
        plan = self.plan
        plan.request, plan.infos = tuple(self._hooks), tuple(self._infos)
        plan.gates = self._bits > 0
        outward = [*reversed(post), *(laid for level in reversed(middle) for laid in level), *reversed(pre)]
        self._respond(outward, slots)
        self._pass_bodies([*pre, *(laid for level in middle for laid in level), *post], outward)
        plan.error_flow = self._errors()
        return plan

    # ---- the request direction

    def _lay(self, flow: FlowUnits, condition: ConditionalUnits | None, slots: SlotCheck) -> _Laid:
        start = len(self._hooks)
        gate = None if condition is None else self._gate(condition.condition, condition.pointer)
        mask = gate.bit if gate else 0
        slots.enter()
        placed = tuple(self._place(unit, mask, slots) for unit in flow.request)
        slots.leave(conditional=gate is not None)
        if gate:
            gate.jump = Jump(len(self._hooks))
        response = tuple((unit, start, mask | self._own_bit(unit)) for unit in flow.response)
        return _Laid(flow, mask, placed, response)

    def _place(self, unit: Unit, mask: int, slots: SlotCheck) -> tuple[Unit, int, int]:
        spared = unit.info if unit.info.shadow else None
        first = len(self._hooks)
        gate = None if unit.condition is None else self._gate(unit.condition, unit.info.pointer, spared)
        slots.see(unit)
        if unit.request_need.mode == "buffer":
            self._buffer(unit.request_need.max, unit.info.pointer, spared)
        index = len(self._hooks)
        if unit.on_request is not None:
            self._hooks.append(unit.on_request)
            self._infos.append(unit.info)
        for hook in self._hooks[first:]:
            if isinstance(hook, Gate | NeedBody):
                hook.jump = Jump(len(self._hooks))
        return unit, index, mask | gate.bit if gate else mask

    def _gate(self, condition: ICondition, pointer: str, spared: StepInfo | None = None) -> Gate:
        if condition.needs_request_body:
            self._buffer(self.plan.max_buffer, pointer, spared)
        gate = Gate(condition, 1 << self._bits, spared)
        self._bits += 1
        self._hooks.append(gate)
        self._infos.append(None)
        return gate

    def _buffer(self, most: int, pointer: str, spared: StepInfo | None = None) -> None:
        if self._route is not None and self._route.stream:
            self.problems.append(
                Problem(pointer, f"buffers a body, but route {self._route.name!r} is declared as a stream")
            )
        self._hooks.append(NeedBody(most, spared))
        self._infos.append(None)

    def choose(self, choices: Sequence[tuple[ICondition | None, CompiledUpstream]], pointer: str) -> None:
        """Set the conditional upstreams; a condition over the body buffers it after the last request step."""
        if any(condition is not None and condition.needs_request_body for condition, _ in choices):
            self._buffer(self.plan.max_buffer, pointer)
            self.plan.request, self.plan.infos = tuple(self._hooks), tuple(self._infos)
        self.plan.choices = tuple(choices)

    # ---- the other directions

    def _respond(self, outward: Sequence[_Laid], slots: SlotCheck) -> None:
        entries: list[Entry] = []
        faults: list[Entry] = []
        logs: list[Entry] = []
        for laid in outward:
            for unit, index, mask in _outward(laid):
                condition = None
                if unit.direction == "response":
                    # Asked of the draft or of what was answered: the gate may not have been come to.
                    condition, mask = unit.condition, laid.mask
                if unit.on_fault is not None:
                    faults.append(Entry(index, mask, conditional(unit.on_fault, condition), unit.info))
                if unit.on_log is not None:
                    logs.append(Entry(index, mask, conditional(unit.on_log, condition), unit.info))
            for unit in laid.flow.response:
                slots.see(unit)
            entries.extend(self._response_entries(laid))
        self.plan.response = tuple(entries)
        self.plan.response_hooks = tuple(entry.hook for entry in entries)
        self.plan.faults, self.plan.logs = tuple(faults), tuple(logs)

    def _response_entries(self, laid: _Laid) -> Iterator[Entry]:
        for unit, index, mask in _outward(laid):
            condition = unit.condition if unit.direction == "response" else None
            spared = unit.info if unit.info.shadow else None
            if condition is not None and mask != laid.mask:
                gate = Gate(condition, mask & ~laid.mask, spared)
                yield Entry(index, laid.mask, gated(_opens(gate), laid.mask), unit.info)
                condition = None
            if unit.on_response is None:
                continue
            if unit.response_need.mode == "buffer":
                if self._route is not None and self._route.stream:
                    self._buffer_refused(unit)
                need = NeedResponseBody(unit.response_need.max, spared)
                yield Entry(index, mask, gated(need, mask), unit.info)
            yield Entry(index, mask, gated(conditional(unit.on_response, condition), mask), unit.info)

    def _own_bit(self, unit: Unit) -> int:
        """The gate of a `response:` step whose body is touched, or not, by what its condition says of the head; or that
        is in the shadow, where a condition that fails refuses nothing."""
        if unit.condition is None or (unit.response_need.mode == "none" and not unit.info.shadow):
            return 0
        self._bits += 1
        return 1 << (self._bits - 1)

    def _buffer_refused(self, unit: Unit) -> None:
        self.problems.append(
            Problem(unit.info.pointer, "buffers a response, but the route is declared as a stream")
        )

    def _pass_bodies(self, inward: Sequence[_Laid], outward: Sequence[_Laid]) -> None:
        plan = self.plan
        requests = [(unit, index, mask) for laid in inward for unit, index, mask in laid.request]
        responses = [placed for laid in outward for placed in _outward(laid)]
        plan.request_chunks = tuple(
            Entry(index, mask, unit.on_request_chunk, unit.info)
            for unit, index, mask in requests if unit.on_request_chunk is not None
        )
        plan.response_chunks = tuple(
            Entry(index, mask, unit.on_response_chunk, unit.info)
            for unit, index, mask in responses if unit.on_response_chunk is not None
        )
        plan.edits_request = any(unit.edits_request for unit, _, _ in requests)
        plan.edits_response = any(unit.edits_response for unit, _, _ in responses)

    def _errors(self) -> tuple[Entry, ...]:
        for level in reversed(self._levels):
            if level.error:
                return tuple(
                    Entry(0, 0, conditional(unit.on_error, unit.condition), unit.info)
                    for unit in level.error if unit.on_error is not None
                )
        return ()


def _opens(gate: Gate) -> Hook:
    """A gate of the response direction: those behind it look at its bit."""

    def asked(exchange: Any) -> None:
        gate(exchange)

    return asked


def _outward(laid: _Laid) -> Iterator[tuple[Unit, int, int]]:
    """Units of a flow in the order of the response direction, with index and gates."""
    yield from reversed(laid.request)
    yield from laid.response


