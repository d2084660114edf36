"""`apigateway docs`: writes the generated reference, or tells what of it is out of date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from apigateway.cli import exit_codes
from apigateway.cli.kinds import known_kinds, policies_option
from apigateway.cli.printing import counted
from apigateway.cli.reference import GENERATED, pages


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a page is not as it would be written.")
@click.option("--package-only", is_flag=True, help="Only the kinds that come with the program.")
@policies_option
def docs(folder: Path, check: bool, package_only: bool, policies: tuple[str, ...]) -> None:
    """Write the reference into DIR: a page for each policy, the configuration, the command line.

    Pages of kinds that are gone are removed; files that this command did not write are left alone.
    """
    from apigateway.cli.main import main

    registry = known_kinds(policies)
    found = [each for name in registry.names() if (each := registry.get(name))]
    wanted = pages([each for each in found if each.origin == "package" or not package_only], main)
    stale = _stale(folder, wanted)
    if check:
        for path in stale:
            click.echo(f"{folder / path}: not as `apigateway docs` writes it", err=True)
        raise SystemExit(exit_codes.REFUSED if stale else exit_codes.FINE)
    for path in stale:
        if path in wanted:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(wanted[path], encoding="utf-8")
        else:
            (folder / path).unlink()
    click.echo(f"{folder}: {counted(len(wanted), 'page')}, {len(stale)} changed")


def _stale(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Pages that are missing, different, or of a kind that is gone; sorted."""
    there = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.md")}
    gone = {path for path, text in there.items() if path not in wanted and text.startswith(GENERATED)}
    return sorted(gone | {path for path, text in wanted.items() if there.get(path) != text})
