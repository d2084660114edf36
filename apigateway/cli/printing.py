"""How commands say what they found: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from apigateway.errors import Problem

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """A value as JSON, for people to read, too."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what is in them; nothing where there are no rows."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    for line in [list(titles), *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_problems(problems: Iterable[Problem], *, err: bool = False) -> None:
    """One line for each problem (a traceback has more): file:line, pointer, what is wrong, the nearest name."""
    for problem in problems:
        click.echo(f"{'warning: ' if problem.warning else ''}{problem}", err=err)


def problem_values(problem: Problem) -> dict[str, Any]:
    """A problem for JSON."""
    return {
        "file": problem.file,
        "line": problem.line,
        "pointer": problem.pointer,
        "message": problem.message,
        "hint": problem.hint,
        "warning": problem.warning,
    }


def counted(number: int, what: str, plural: str = "") -> str:
    """ "1 route", "2 routes"."""
    return f"{number} {what if number == 1 else plural or what + 's'}"
