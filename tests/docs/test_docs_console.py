"""What the pages tell to type does what they say: real processes, on free ports."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from doc_console import Console, commands
from doc_pages import Block, blocks, blocks_of, pages

from apigateway.cli.main import main

TYPED = {block.page for block in blocks("console") if "run" in block.classes}


@pytest.mark.parametrize("page", [path for path in pages() if path.stem in TYPED], ids=lambda path: path.stem)
def test_page(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / page.stem
    folder.mkdir()
    console = Console(folder)
    try:
        for block in blocks_of(page):
            console.take(block)
    finally:
        console.end()


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_commands(block: Block) -> None:
    assert block.classes & {"run", "shown"}, (
        "a console block says by its class whether it is run: tests/docs/README.md"
    )
    for command, _ in commands(block.text):
        words = shlex.split(command, comments=True)
        if words[:1] == ["apigateway"] and words[1:] != ["--version"]:
            parse(words[1:])


def parse(arguments: list[str]) -> None:
    """Fails where there is no such command, or it has no such option."""
    top = click.Context(main, info_name="apigateway")
    name, command, rest = main.resolve_command(top, arguments)
    assert command is not None
    command.make_context(name, rest, parent=top, resilient_parsing=True)
