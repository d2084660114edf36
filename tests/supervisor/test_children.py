"""The end of a child is told, by the kernel's descriptor or by a thread."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.waiting import event_loop, until

from apigateway.supervisor.children import Children


@pytest.mark.parametrize("pidfd", [True, False])
@ensureDeferred
async def test_ends_are_told_once_each_with_their_status(pidfd: bool) -> None:
    children, ended = Children(event_loop(), pidfd=pidfd), []

    def begin(name: str, code: str) -> Any:
        return children.begin([sys.executable, "-c", code], [], lambda status: ended.append((name, status)))

    fine, three = begin("fine", "pass"), begin("three", "raise SystemExit(3)")
    killed = begin("killed", "import time; time.sleep(60)")
    os.kill(killed.pid, signal.SIGKILL)
    await until(lambda: len(ended) == 3, within=30)
    assert sorted(ended) == [("fine", 0), ("killed", -signal.SIGKILL), ("three", 3)]
    assert len({fine.pid, three.pid, killed.pid}) == 3


@pytest.mark.parametrize("why", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
@ensureDeferred
async def test_a_kernel_that_refuses_its_descriptor_is_done_without(why: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    ended: list[int] = []
    Children(event_loop(), pidfd=True).begin([sys.executable, "-c", "raise SystemExit(3)"], [], ended.append)
    await until(lambda: ended == [3], within=30)


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="none"):
        Children(event_loop()).begin(["/there/is/none"], [], lambda code: None)
