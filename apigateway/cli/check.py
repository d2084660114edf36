"""`apigateway check`: everything that is wrong with a file, without serving it."""

from __future__ import annotations

import click

from apigateway.checking import Checked, check_file
from apigateway.cli import exit_codes
from apigateway.cli.printing import counted, json_option, print_json, print_problems, problem_values
from apigateway.config.revision import short_digest


@click.command()
@click.argument("file", type=click.Path())
@click.option("--strict", is_flag=True, help="An unset ${env:NAME} is an error, not a warning.")
@json_option
def check(file: str, strict: bool, as_json: bool) -> None:
    """Tell everything that is wrong with a file: file:line, pointer, what is wrong, the nearest name.

    Reads the file, what it names, and policy code; opens no socket and writes nothing. Exit status: 0 fine
    (there may be warnings), 1 with errors.
    """
    checked = check_file(file, strict=strict)
    if as_json:
        print_json({"ok": checked.ok, "problems": [problem_values(problem) for problem in checked.problems]})
    else:
        print_problems(checked.problems)
        click.echo(f"{file}: {_summary(checked)}")
    raise SystemExit(exit_codes.FINE if checked.ok else exit_codes.REFUSED)


def _summary(checked: Checked) -> str:
    warnings = sum(problem.warning for problem in checked.problems)
    found = counted(warnings, "warning") if warnings else ""
    if not checked.ok or checked.configuration is None:
        errors = counted(len(checked.problems) - warnings, "error")
        return f"{errors}, {found}" if found else errors
    revision = checked.configuration.revision
    routes = counted(sum(len(api.routes) for api in revision.apis), "route")
    parts = ("fine", found, counted(len(revision.apis), "Api"), routes, f"revision {short_digest(revision)}")
    return ", ".join(part for part in parts if part)
