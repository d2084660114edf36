"""`apigateway test-policy`: a policy file's examples, and whether it keeps the contract."""

from __future__ import annotations

from pathlib import Path

import click

from apigateway.cli import exit_codes
from apigateway.cli.printing import counted, json_option, print_json, print_problems
from apigateway.flow.registry import Registered, discover


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def test_policy(file: Path, as_json: bool) -> None:
    """Run the examples of a policy file, and the tests that every kind has to pass.

    Exit status: 0 when all hold, 1 when something fails or the file does not load.
    """
    registered = _registered(file)
    # Only here: serving never needs what authors test with.
    from apigateway.testing import conformance, run_examples

    results = run_examples(registered)
    broken = conformance(registered)
    failed = any(not result.ok for result in results) or bool(broken)
    if as_json:
        examples = [{"title": each.title, "ok": each.ok, "failures": list(each.failures)} for each in results]
        print_json({"kind": registered.kind.name, "ok": not failed, "examples": examples, "conformance": broken})
    else:
        for result in results:
            click.echo(f"{'ok    ' if result.ok else 'FAILED'}  {result.title}")
            for failure in result.failures:
                click.echo(f"        {failure}")
        for text in broken:
            click.echo(f"FAILED  conformance: {text}")
        click.echo(f"{registered.kind.name}: {counted(len(results), 'example')}, {'failed' if failed else 'all fine'}")
    raise SystemExit(exit_codes.REFUSED if failed else exit_codes.FINE)


def _registered(file: Path) -> Registered:
    """The kind of a file; with SystemExit(1) where it is none. One that is found anyway is not loaded twice."""
    real = file.resolve()
    registry = discover()
    for path in ([], [str(real)]):
        registry = discover(path) if path else registry
        for each in (registry.get(name) for name in registry.names()):
            if each is not None and each.source and Path(each.source).resolve() == real:
                return each
    print_problems((each for each in registry.problems if Path(each.file).resolve() == real), err=True)
    click.echo(f"{file} is not a policy file", err=True)
    raise SystemExit(exit_codes.REFUSED)
