"""Faults are tested on the stage of tests/loopback, whose toolkit pyproject.toml puts on the path."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest_twisted
from fault_proxy import FaultProxy
from toolkit.fixtures import authority, quick_collections, stage
from toolkit.stage import Stage

__all__ = ["authority", "proxies", "quick_collections", "stage"]

CAP_SYS_ADMIN = 21


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (capabilities(7)): root does, unless a container took it away."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> CAP_SYS_ADMIN & 1)


# Limits of a running process, and a clock of its own, are Linux'. A disk of its own takes root. Where they cannot be
# had, those folders are not there: nothing is skipped.
collect_ignore: list[str] = []
if sys.platform != "linux":
    collect_ignore += ["process", "root"]
elif not may_mount():
    collect_ignore += ["root"]


@pytest_twisted.async_yield_fixture
async def proxies(stage: Stage) -> Any:
    """Makes fault proxies: call it with the (address, port) to pass on to."""
    made: list[FaultProxy] = []

    def make(target: tuple[str, int], name: str = "proxy", scheme: str = "http") -> FaultProxy:
        made.append(FaultProxy(target, name, scheme))
        return made[-1]

    yield make
    for proxy in made:
        await proxy.close()
