"""Processes of a benchmark: started, waited for, measured, and ended; its own only."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[1]
READY_SECONDS = 15.0
END_SECONDS = 5.0


class NotStarted(Exception):
    """A process did not come up; the text says what it wrote last."""


class Processes:
    """Context: ends whatever it started, however it is left. folder: where their output goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, command: Sequence[str], ports: Sequence[int]) -> int:
        """The process id, once it accepts on all of its ports. NotStarted."""
        output = self.folder / f"{name}.out"
        with output.open("wb") as sink:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self._running.append(process)
        late = time.monotonic() + READY_SECONDS
        while not all(accepts(port) for port in ports):
            if process.poll() is not None or time.monotonic() > late:
                said = output.read_text(errors="replace").strip()[-600:]
                raise NotStarted(f"{name} does not listen ({' '.join(command[:3])} ...): {said}")
            time.sleep(0.05)
        return process.pid


def python(module: str, *arguments: object) -> list[str]:
    """The command of a module of ours, with this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of a process and of those under it (an nginx worker is its master's child)."""
    return sum(map(_ticks, family(pid))) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process, and all under it."""
    return [pid, *_descendants(pid)]


def memory(pid: int) -> int:
    """Octets of memory of a process alone: its proportional set size, where what it shares is shared out. OSError."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def resident(pid: int) -> int:
    """Octets of its resident set: quicker to find out than `memory`. OSError."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many files and sockets it has open. OSError."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def raise_limit() -> None:
    """As many open files as are allowed, for this process and those it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stat(pid: int) -> list[str]:
    # The name, in parentheses, may hold spaces.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    # utime, stime, and those of children that have ended: proc(5), fields 14 to 17.
    return sum(map(int, _stat(pid)[11:15]))


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (OSError, IndexError):
                continue  # it ended meanwhile
    found, ahead = [], [pid]
    while ahead:
        under = children.get(ahead.pop(), [])
        found += under
        ahead += under
    return found
