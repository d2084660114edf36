"""`apigateway explain`: what would become of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from apigateway.cli import exit_codes
from apigateway.cli.drafts import draft_of
from apigateway.cli.plan import TITLES, step_rows
from apigateway.cli.printing import json_option, print_json, print_table
from apigateway.flow import explaining


@click.command()
@click.argument("file", type=click.Path())
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header; repeatable.")
@json_option
def explain(file: str, method: str, url: str, headers: tuple[str, ...], as_json: bool) -> None:
    """Tell which route a request would take, its steps and target, and why not the others.

    URL is absolute, or a path (the host is then the Host header's). No request is sent, and no step is run.
    Exit status: 0 fine, 1 the file has errors, 3 no route takes the request.
    """
    lines = [_header(text) for text in headers]
    _, draft = draft_of(file)
    try:
        view = explaining.explain(draft, method, url, lines)
    except ValueError as error:
        raise click.UsageError(f"this is no request: {error}") from error
    if as_json:
        print_json(view)
    else:
        _print(view)
    raise SystemExit(exit_codes.NOT_FOUND if view["route"] is None else exit_codes.FINE)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"a header is written 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def _print(view: Mapping[str, Any]) -> None:
    if view["route"] is None:
        click.echo(f"no route takes it: {' '.join(str(part) for part in view['fault'].values())}")
    else:
        click.echo(f"route: {view['api']} / {view['route']}")
        if view.get("steps"):
            click.echo("\nsteps:")
            print_table(TITLES, step_rows(view["steps"]))
        _print_targets(view)
    if view["candidates"]:
        click.echo("\nroutes:")
        print_table(
            ("API", "ROUTE", "WHY NOT"),
            ((row["api"], row["route"], row["why_not"] or "chosen") for row in view["candidates"]),
        )


def _print_targets(view: Mapping[str, Any]) -> None:
    if view.get("upstream_unknown"):
        click.echo(f"\nupstream: cannot be told from here: {view['upstream_unknown']}")
        return
    click.echo(f"\nupstream: {view['upstream'] or 'none: a step answers'}")
    print_table(
        ("TARGET", "WHY NOT"),
        ((row["name"], "chosen" if row["chosen"] else row["why_not"]) for row in view.get("targets", ())),
    )
