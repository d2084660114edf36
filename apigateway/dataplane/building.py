"""A revision that is built beside the running one, and what keeps the loop answering meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from apigateway.config.model import Configuration, State
from apigateway.dataplane.deployment import Deployment
from apigateway.flow.drafting import Draft
from apigateway.flow.live import LiveRevision

# So many collections of the newest objects, until older ones are looked through.
NEVER: Final = 1_000_000_000


@dataclass(frozen=True)
class Candidate:
    """A configuration that was checked and drafted, ready to be deployed. digest: of its revision. state: its settings,
    with secrets."""

    configuration: Configuration
    draft: Draft
    digest: str
    state: State = field(default_factory=State)


@dataclass(frozen=True, slots=True)
class Built:
    """A revision that could carry traffic, and what it came from."""

    candidate: Candidate
    deployment: Deployment
    live: LiveRevision


@dataclass(frozen=True, slots=True)
class PreparedRevision:
    """A revision beside the running one, of which one of the two is done, once.

    commit: it carries traffic from now on; nothing can go wrong any more. discard: it is let go of.
    """

    digest: str
    commit: Callable[[], None]
    discard: Callable[[], None]


class Building:
    """From `begin` to `end`, a revision is built.

    What is built stays, and looking through a million new objects for garbage stops everything for a quarter of a
    second, three times over. So meanwhile only the newest objects are looked through, those of exchanges among them;
    and a revision that is taken is settled: never looked at again (gc.freeze). So it has to go by counting references
    alone, when its time comes: nothing in it may refer to itself in a circle. One that was refused is not settled: what
    an exception keeps in circles is for the collector to find.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Until `end`; not twice."""
        self._before = gc.get_threshold()
        gc.set_threshold(self._before[0], NEVER)

    def end(self, *, taken: bool) -> None:
        """It is built, or refused. Nothing where there was no `begin`."""
        if self._before is None:
            return
        thresholds, self._before = self._before, None
        if taken and gc.isenabled():
            gc.freeze()
        gc.set_threshold(*thresholds)
