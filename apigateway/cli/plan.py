"""`apigateway plan`: the compiled steps of a route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from apigateway.cli import exit_codes
from apigateway.cli.drafts import draft_of
from apigateway.cli.printing import json_option, print_json, print_table
from apigateway.config.model import Configuration
from apigateway.flow.explaining import plan_view
from apigateway.text import nearest

TITLES = ("", "STEP", "KIND", "PLACE", "MODE")
DIRECTIONS = {
    "request": "request, in this order",
    "response": "response, in this order",
    "fault": "on a fault, in this order",
    "error": "error flow",
}


@click.command()
@click.argument("file", type=click.Path())
@click.argument("api")
@click.argument("route")
@json_option
def plan(file: str, api: str, route: str, as_json: bool) -> None:
    """Print the compiled steps of a route in the order in which they run, per direction.

    Exit status: 0 fine, 1 the file has errors, 3 it has no such Api or route.
    """
    configuration, draft = draft_of(file)
    try:
        view = plan_view(draft, api, route)
    except LookupError:
        click.echo(_not_found(configuration, api, route), err=True)
        raise SystemExit(exit_codes.NOT_FOUND) from None
    if as_json:
        print_json(view)
        return
    click.echo(f"{api} / {route}")
    for direction, title in DIRECTIONS.items():
        if view.get(direction):
            click.echo(f"\n{title}:")
            print_table(TITLES, step_rows(view[direction]))
    click.echo(f"\nupstream: {_upstream(view['upstream'])}")


def step_rows(steps: Iterable[Mapping[str, Any]]) -> Iterable[tuple[object, ...]]:
    """A row of TITLES for each entry of a view: a step, a condition, or the wait for a body."""
    for number, step in enumerate(steps, 1):
        if "step" in step:
            yield number, step["step"], step["kind"], step["place"], step["mode"]
        elif "buffers" in step:
            yield number, f"wait for the body, at most {step['buffers']} octets", "", "", ""
        else:
            passes = step["else_passes_over"]
            yield number, f"when {step['when']}", "", f"else passes over {passes}", ""


def _upstream(view: Any) -> str:
    if isinstance(view, list):
        return "; ".join(
            f"{choice['upstream']} when {choice['when']}" if choice["when"] else f"else {choice['upstream']}"
            for choice in view
        )
    return view or "none: a step answers"


def _not_found(configuration: Configuration, api: str, route: str) -> str:
    apis = {each.name: each for each in configuration.apis}
    if api not in apis:
        return f"there is no Api {api!r}{_hint(api, apis)}"
    return f"Api {api!r} has no route {route!r}{_hint(route, (each.name for each in apis[api].routes))}"


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""
