"""A program for each test, ended with everything that it began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Program, program_in
from toolkit.fixtures import stage

__all__ = ["program", "stage"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        yield program
