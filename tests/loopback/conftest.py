"""A stage for each test over real sockets, and an authority for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from toolkit.authority import Authority
from toolkit.stage import Stage


@pytest_twisted.async_yield_fixture
async def stage(tmp_path: Path) -> Any:
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
