"""Whether every step finds what it needs: the slots that earlier steps fill."""

from __future__ import annotations

from typing import Any

from apigateway.errors import Problem
from apigateway.flow.exchange import Slot
from apigateway.flow.units import Unit


class SlotCheck:
    """Walks the steps of a plan in order. What a conditional part provides counts inside that part only: outside of it
    nobody can rely on it."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._provided: set[Slot[Any]] = set()
        self._saved: list[set[Slot[Any]]] = []

    def enter(self) -> None:
        """A flow begins."""
        self._saved.append(set(self._provided))

    def leave(self, *, conditional: bool) -> None:
        """The flow is over; what a conditional one provided is forgotten."""
        before = self._saved.pop()
        if conditional:
            self._provided = before

    def see(self, unit: Unit) -> None:
        """Check a step's `requires`, then count what it `provides`, unless it may not run or is not enforced."""
        for slot in unit.kind.requires:
            if slot not in self._provided:
                self._problems.append(
                    Problem(unit.info.pointer, f"{unit.kind.name} needs {slot.name} ({slot.about}), "
                            "which no step before it is sure to provide")
                )
        if unit.condition is None and not unit.info.shadow and not unit.info.lenient:
            self._provided.update(unit.kind.provides)
