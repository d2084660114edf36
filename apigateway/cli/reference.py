"""The generated reference: a page for each kind of policy, for the configuration and for the command line.

From the same inputs always the same pages; Markdown as Sphinx with MyST reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from apigateway.cli.example_text import example_lines
from apigateway.cli.kinds import settings_schema
from apigateway.cli.schema_text import settings_tables
from apigateway.config.schema import configuration_schema
from apigateway.flow.kinds import Kind, Need
from apigateway.flow.registry import Registered

GENERATED = "<!-- Written by `apigateway docs`: edit what it is made from, not this page. -->"
COMMAND_WIDTH = 100


def pages(registered: Sequence[Registered], command: click.Group) -> dict[str, str]:
    """Path, relative to the reference's folder, to text."""
    made = {f"policies/{each.kind.name}.md": _page(_policy(each)) for each in registered}
    made["configuration.md"] = _page(_configuration())
    made["command-line.md"] = _page(_command_line(command))
    made["index.md"] = _page(_index(registered))
    return made


def _page(lines: Iterator[str]) -> str:
    return "\n".join((GENERATED, "", *lines)) + "\n"


def _index(registered: Sequence[Registered]) -> Iterator[str]:
    yield from ("# Reference", "", "| policy | does |", "|---|---|")
    for each in registered:
        about = each.kind.about.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        yield f"| [{each.kind.name}](policies/{each.kind.name}.md) | {about} |"
    yield from ("", "```{toctree}", ":maxdepth: 1", "", "configuration", "command-line")
    yield from (f"policies/{each.kind.name}" for each in registered)
    yield "```"


def _policy(registered: Registered) -> Iterator[str]:
    kind = registered.kind
    yield from (f"# {kind.name}", "", *registered.about.splitlines(), "")
    yield from (f"- {fact}" for fact in _facts(kind))
    yield from ("", "## Settings", "")
    yield from settings_tables(settings_schema(registered), level=3)
    if registered.examples:
        yield from ("", "## Examples")
        for example in registered.examples:
            yield from example_lines(kind.name, example)


def _facts(kind: Kind) -> Iterator[str]:
    places = [place for place in ("request", "response", "error") if place in kind.places]
    yield f"It may stand under {', '.join(f'`{place}`' for place in places)}."
    if kind.guards:
        yield "It guards: `on_error: continue` is refused."
    if kind.requires:
        yield f"Before it, a step has to provide: {', '.join(slot.name for slot in kind.requires)}."
    if kind.provides:
        yield f"It provides: {', '.join(slot.name for slot in kind.provides)}."
    for side, need in (("request", kind.request_body), ("response", kind.response_body)):
        text = _need(need)
        if text:
            yield f"The body of the {side} {text}."


def _need(need: Need) -> str:
    if callable(need):
        return "is looked at where its settings ask for it"
    if need.mode == "buffer":
        return f"is buffered, at most {need.max} octets"
    return {"none": "", "stream": "is looked at as it passes"}[need.mode]


def _configuration() -> Iterator[str]:
    schema = configuration_schema()
    yield from ("# Configuration", "", "Durations and sizes carry their unit (`30s`, `64KiB`); paths are relative to")
    yield from ("the file; keys that are not named here are refused.", "")
    yield from settings_tables(schema)


def _command_line(command: click.Group) -> Iterator[str]:
    yield "# Command line"
    # Not the terminal's width: the page is the same wherever it is made.
    top = click.Context(command, info_name="apigateway", terminal_width=COMMAND_WIDTH)
    yield from ("", "```text", command.get_help(top), "```")
    for name in command.list_commands(top):
        inner = command.get_command(top, name)
        if inner is not None:
            context = click.Context(inner, info_name=name, parent=top, terminal_width=COMMAND_WIDTH)
            yield from ("", f"## {name}", "", "```text", inner.get_help(context), "```")
