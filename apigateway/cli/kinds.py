"""The kinds of policies that commands work on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from apigateway.cli import exit_codes
from apigateway.cli.printing import print_problems
from apigateway.flow.registry import Registered, Registry, discover

policies_option = click.option(
    "--policies", multiple=True, type=click.Path(exists=True), help="A folder of policy files; repeatable."
)


def known_kinds(policies: Sequence[str]) -> Registry:
    """All kinds that are found, those in these folders with them; SystemExit(1) where a file does not load."""
    registry = discover([str(Path(path).resolve()) for path in policies])
    if registry.problems:
        print_problems(registry.problems, err=True)
        raise SystemExit(exit_codes.REFUSED)
    return registry


def unknown_kind(registry: Registry, name: str) -> NoReturn:
    """Say that there is no such kind, and end with the status for it."""
    near = registry.nearest(name)
    click.echo(f"there is no policy {name!r}" + (f" (did you mean {near!r}?)" if near else ""), err=True)
    raise SystemExit(exit_codes.NOT_FOUND)


def settings_schema(registered: Registered) -> dict[str, Any]:
    """JSON Schema of what may stand under `with:`; defaults as a file writes them, with their units."""
    return registered.kind.config.model_json_schema(by_alias=True, mode="serialization")
