"""Child processes and their ends. Twisted's spawnProcess is never told of an end under uvloop, which keeps SIGCHLD for
itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from threading import Thread


class Children:
    """Begins processes, and calls when they end.

    pidfd: let the kernel tell by a descriptor of the process (Linux), else a thread of each waits for it; so does one
    where the kernel refuses (an old one, or a container that forbids the call), or no descriptor is left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, pidfd: bool = hasattr(os, "pidfd_open")) -> None:
        self._loop, self._pidfd = loop, pidfd

    def begin(
        self, command: Sequence[str], descriptors: Sequence[int], ended: Callable[[int], None]
    ) -> subprocess.Popen[bytes]:
        """Begin a command with these descriptors. ended: called with its return code, as of Popen. Raises OSError.

        It is in a process group of its own: what a terminal sends to the group of the program is for the program to
        pass on. It reads nothing.
        """
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, process_group=0)
        descriptor = self._descriptor(process.pid)
        if descriptor is not None:
            self._watch(process, descriptor, ended)
        else:
            Thread(target=self._wait, args=(process, ended), name=f"wait {process.pid}", daemon=True).start()
        return process

    def _descriptor(self, pid: int) -> int | None:
        try:
            return os.pidfd_open(pid) if self._pidfd else None
        except OSError:
            return None

    def _watch(self, process: subprocess.Popen[bytes], descriptor: int, ended: Callable[[int], None]) -> None:
        def readable() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            ended(process.wait())

        self._loop.add_reader(descriptor, readable)

    def _wait(self, process: subprocess.Popen[bytes], ended: Callable[[int], None]) -> None:
        self._loop.call_soon_threadsafe(ended, process.wait())
