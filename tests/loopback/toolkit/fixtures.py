"""Fixtures of the folders whose tests run over real sockets; their conftest.py imports them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from toolkit.authority import Authority
from toolkit.stage import Stage


@pytest_twisted.async_yield_fixture
async def stage(tmp_path: Path) -> Any:
    """A stage for each test."""
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> Iterator[None]:
    """The guard collects garbage after each test; what was imported is none, and need not be looked at each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for all of them."""
    return Authority(tmp_path_factory.mktemp("authority"))
