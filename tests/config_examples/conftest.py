"""Ends what a test of an example began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from example_gateway import Served, served

from apigateway.cli.demo_processes import Processes


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    """Serves config/NAME.yaml in front of services of its own, until the test ends."""
    processes = Processes(print)
    yield lambda name: served(name, tmp_path, processes)
    processes.end()
