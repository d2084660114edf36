"""What a job is, and what it is given to run with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import OURS, Sample
from bench.loading import BadAnswers
from bench.place import Proxy
from bench.processes import NotStarted, Processes
from bench.progress import Progress
from bench.proxies import PROXIES, Missing, Running, start_proxy
from bench.scenario import PLAIN, Scenario


@dataclass(frozen=True, slots=True)
class Entry:
    """A proxy that takes part, and what it is configured to do. how: a name for this variant."""

    proxy: str
    scenario: Scenario = PLAIN
    how: str = ""

    @property
    def label(self) -> str:
        return f"{self.proxy}, {self.how}" if self.how else self.proxy


@dataclass(frozen=True, slots=True)
class Job:
    """A job. about: a line for the table. main: the figure by which proxies are compared.

    run: measures, and gives samples as they come. wrk: it cannot do without.
    """

    name: str
    about: str
    main: str
    entries: tuple[Entry, ...]
    run: Callable[[Job, Means], Iterator[Sample]]
    wrk: bool = True


@dataclass(slots=True)
class Means:
    """rounds: how often everybody is measured. seconds: for how long each time. only: proxies that take part.

    missing: who was left out, and why; broken: who is there and could not be measured. dropped: (job, label) of peers
    that answered badly.
    """

    rounds: int
    seconds: float
    only: frozenset[str] = frozenset(PROXIES)
    missing: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    dropped: set[tuple[str, str]] = field(default_factory=set)

    def entries(self, job: Job) -> list[Entry]:
        """Those that take part."""
        return [entry for entry in job.entries if entry.proxy in self.only]

    def progress(self, job: Job, steps: int) -> Progress:
        """For so many steps."""
        return Progress(job.name, steps)

    def start(self, job: Job, entry: Entry, processes: Processes, backends: tuple[int, int]) -> Running | None:
        """Start one; None, and it is noted, where it cannot be."""
        try:
            return start_proxy(processes, PROXIES[entry.proxy], backends, entry.scenario, entry.label)
        except Missing as error:
            self.missing[entry.proxy] = str(error)
        except NotStarted as error:
            self.broken[f"{job.name}: {entry.label}"] = str(error)
        return None

    def sample(self, job: Job, proxy: Proxy, label: str, measure: Callable[[], Sample]) -> Iterator[Sample]:
        """What is measured. A peer that answers badly is noted, and takes no further part. BadAnswers: we did."""
        if (job.name, label) in self.dropped:
            return
        try:
            yield measure()
        except BadAnswers as error:
            if proxy.name == OURS:
                raise
            self.dropped.add((job.name, label))
            self.missing[f"{job.name}: {label}"] = str(error)

    def start_all(self, job: Job, processes: Processes, backends: tuple[int, int]) -> list[Running]:
        """Start everybody that takes part and can."""
        started = [self.start(job, entry, processes, backends) for entry in self.entries(job)]
        return [running for running in started if running is not None]


@contextmanager
def processes() -> Iterator[Processes]:
    """Processes with a folder of their own; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)  # nginx, started by root, reads it as somebody else
        with Processes(Path(folder)) as started:
            yield started


def in_turn(proxies: Sequence[Running], rounds: int) -> Iterator[Running]:
    """Everybody in every round, each round begun by another, so that what drifts meets all of them."""
    for number in range(rounds if proxies else 0):
        turn = number % len(proxies)
        yield from [*proxies[turn:], *proxies[:turn]]
