"""Tables that are read in a terminal, and that Markdown shows as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.figures import KINDS, OURS, Rows, Verdict, ratios


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A pipe table; the first row is its head. The first column and the last are text, the others are numbers."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    last = len(widths) - 1
    lines = [
        "| " + " | ".join(
            cell.ljust(width) if at in (0, last) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ) + " |"
        for row in rows
    ]
    rule = "|" + "|".join(
        "-" * (width + 2) if at in (0, last) else "-" * (width + 1) + ":" for at, width in enumerate(widths)
    ) + "|"
    return [lines[0], rule, *lines[1:]]


def of_job(rows: Rows, main: str, about: Mapping[str, str]) -> list[str]:
    """The figures of a job. main: what the ratio is taken of. about: a note for each label."""
    names = [name for name in KINDS if any(name in row for row in rows.values())]
    by = ratios(rows, main)
    head = ["", *(KINDS[name].title for name in names), *([f"{OURS} / it"] if by else []), ""]
    return aligned([head] + [
        [
            label,
            *(format(row[name], KINDS[name].form) if name in row else "" for name in names),
            *([f"{by[label]:.2f}" if label in by else ""] if by else []),
            about.get(label, ""),
        ]
        for label, row in rows.items()
    ])


def of_budgets(verdicts: Sequence[Verdict]) -> list[str]:
    """Every budget with its figure. `ratio` is the figure by what it may be: over 1 it is missed."""
    rows = [["budget", "is", "at most", "ratio", ""]]
    rows += [
        [
            each.budget.text, f"{each.value:.2f}", f"{each.budget.at_most:g}",
            f"{each.value / each.budget.at_most:.2f}" if each.budget.at_most else "",
            "met" if each.met else "**missed**",
        ]
        for each in verdicts
    ]
    return aligned(rows) if verdicts else []
