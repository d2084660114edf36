"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apigateway.cli.demo_processes import Processes
from apigateway.cli.main import main


@pytest.fixture
def call() -> Callable[..., Result]:
    """Runs a command in this process."""

    def run(*arguments: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Child processes, ended after the test."""
    begun = Processes(print)
    yield begun
    begun.end()
