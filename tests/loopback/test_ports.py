"""Ports for tests: two runs side by side are never given the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toolkit import ports

HERE = Path(__file__).parent
ANOTHER_RUN = "import sys; from toolkit.ports import free_port; print(free_port(), flush=True); sys.stdin.read()"


def test_a_port_is_given_to_one_run_until_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RUN], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as another:
        assert another.stdout is not None
        theirs = int(another.stdout.readline())
        offers = iter([theirs, *ports._OURS])
        monkeypatch.setattr(ports, "_choose", lambda among: next(offers))
        assert ports.free_port() != theirs
        another.communicate()
    monkeypatch.setattr(ports, "_choose", lambda among: theirs)
    assert ports.free_port() == theirs
    with pytest.raises(AssertionError, match="no free port"):
        ports.free_port()
