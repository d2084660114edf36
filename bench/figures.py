"""What was measured: samples, their medians, ratios, and the budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

OURS = "gateway"
Row = Mapping[str, float]
Rows = Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. label: who, or "who, how" where a job has variants. figures: see KINDS."""

    job: str
    label: str
    figures: Row


@dataclass(frozen=True, slots=True)
class Kind:
    """A figure: its title in a table, its unit's sign included, and how it is written."""

    title: str
    form: str = ".2f"


KINDS = {
    "cpu_us": Kind("CPU us/request", ".1f"),
    "cpu_us_per_mib": Kind("CPU us/MiB", ".0f"),
    "match_us": Kind("us/match", ".2f"),
    "kib": Kind("KiB/connection", ".1f"),
    "spread": Kind("spread", ".0%"),
    "rps": Kind("requests/s", ".0f"),
    "mib_per_s": Kind("MiB/s", ".0f"),
    "grown_mib": Kind("memory + MiB", ".1f"),
    "p50_ms": Kind("p50 ms"),
    "p99_ms": Kind("p99 ms"),
    "crowd_p99_ms": Kind("p99 ms in the crowd"),
    "times": Kind("times", ".2f"),
    "resumed": Kind("resumed", ".0%"),
    "lost": Kind("idle ones lost", ".0f"),
    "failed": Kind("failed", ".0f"),
    "reloads": Kind("reloads", ".0f"),
    "reload_ms": Kind("ms/reload", ".0f"),
    "quiet_pause_ms": Kind("longest answer ms, no reload", ".1f"),
    "pause_ms": Kind("longest answer ms, reloading", ".1f"),
    "lag_ms": Kind("loop lag under ms", ".1f"),
}
# Of these the worst sample counts, not the median.
WORST = ("failed", "lost", "pause_ms", "quiet_pause_ms", "lag_ms", "grown_mib")


def medians(samples: Iterable[Sample], job: str, main: str) -> dict[str, dict[str, float]]:
    """Per label: the medians of its samples (of WORST, the highest), and `spread`.

    spread: how far the highest and the lowest of the figure `main` lie apart, as a part of its median.
    """
    own = [sample for sample in samples if sample.job == job]
    return {label: _median([s.figures for s in own if s.label == label], main) for label in
            dict.fromkeys(sample.label for sample in own)}


def _median(rows: Sequence[Row], main: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        found[name] = max(values) if name in WORST else median(values)
        if name == main and len(values) > 1:
            found["spread"] = (max(values) - min(values)) / median(values) if median(values) else 0.0
    return found


def ratios(rows: Rows, main: str) -> dict[str, float]:
    """Per label of a peer: our figure by its own, of the same variant."""
    found = {}
    for label, row in rows.items():
        who, _, how = label.partition(", ")
        own = rows.get(f"{OURS}, {how}" if how else OURS)
        if who != OURS and own is not None and row[main] > 0:
            found[label] = own[main] / row[main]
    return found


@dataclass(frozen=True, slots=True)
class Budget:
    """A goal: of a job, this figure of `label` is at most so much, or so many times that of `by`."""

    text: str
    job: str
    label: str
    figure: str
    at_most: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a budget came out. value: the figure, or the ratio."""

    budget: Budget
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.budget.at_most


def judge(budgets: Iterable[Budget], found: Mapping[str, Rows]) -> list[Verdict]:
    """Of the budgets whose figures are there."""
    verdicts = []
    for budget in budgets:
        rows = found.get(budget.job, {})
        own, other = rows.get(budget.label, {}), rows.get(budget.by, {})
        if budget.figure not in own or (budget.by and not other.get(budget.figure)):
            continue
        value = own[budget.figure] / other[budget.figure] if budget.by else own[budget.figure]
        verdicts.append(Verdict(budget, value))
    return verdicts
