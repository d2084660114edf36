"""The compiled plan of a route: flat tuples that the machine walks (built by plan_builder)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apigateway.flow.interfaces import ICondition
from apigateway.flow.steps import Hook, StepInfo
from apigateway.flow.upstream import CompiledUpstream


@dataclass(frozen=True, slots=True)
class Entry:
    """A hook that is not on the request direction. index: of the request hook that has to be reached for it.
    mask: gates that have to be passed."""

    index: int
    mask: int
    hook: Any
    info: StepInfo


class Plan:
    """What an exchange of a route walks through.

    request: entries, each called with the exchange; infos beside it (None for gates and body needs).
    response, faults, logs, request_chunks, response_chunks: Entry tuples. error_flow: of the innermost holder that
    has one. edits_request, edits_response: a streaming step may change the length. gates: there are conditional parts,
    so that entries have to be looked at one by one. choices: (condition or None, upstream), asked in order.
    additions: field lines every answer of this Api gets (Deprecation, Sunset).
    """

    __slots__ = (
        "additions", "api", "choices", "edits_request", "edits_response", "error_flow", "faults", "gates", "infos",
        "logs", "max_buffer", "pointer", "request", "request_chunks", "response", "response_chunks", "response_hooks",
        "route", "strip", "upstream", "version",
    )

    def __init__(self, api: str = "", route: str = "", version: str = "", pointer: str = "") -> None:
        self.api, self.route, self.version, self.pointer = api, route, version, pointer
        self.request: tuple[Hook, ...] = ()
        self.infos: tuple[StepInfo | None, ...] = ()
        self.response: tuple[Entry, ...] = ()
        self.response_hooks: tuple[Hook, ...] = ()
        self.faults: tuple[Entry, ...] = ()
        self.error_flow: tuple[Entry, ...] = ()
        self.logs: tuple[Entry, ...] = ()
        self.request_chunks: tuple[Entry, ...] = ()
        self.response_chunks: tuple[Entry, ...] = ()
        self.edits_request = self.edits_response = self.gates = self.strip = False
        self.upstream: CompiledUpstream | None = None
        self.choices: tuple[tuple[ICondition | None, CompiledUpstream], ...] = ()
        self.additions: tuple[tuple[bytes, bytes], ...] = ()
        self.max_buffer = 0
