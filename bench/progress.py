"""How far a benchmark is: a bar on one line where somebody watches, a line for each step where nobody does."""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDE = 24


class Progress:
    """Of one job: `total` steps, of which `step` begins the next."""

    def __init__(self, name: str, total: int, to: TextIO = sys.stderr) -> None:
        self._name, self._total, self._to = name, max(1, total), to
        self._done = 0
        self._began = time.monotonic()

    def step(self, what: str) -> None:
        """Say what is done now."""
        done = min(self._done, self._total)
        self._done += 1
        if self._to.isatty():
            self._to.write(f"\r\x1b[K{self._name:11} {bar(done, self._total)} {self._left(done)} {what}")
        else:
            self._to.write(f"{self._name} {done + 1}/{self._total}: {what}\n")
        self._to.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._to.isatty():
            self._to.write("\r\x1b[K")
            self._to.flush()

    def _left(self, done: int) -> str:
        if not done:
            return "      "
        seconds = (time.monotonic() - self._began) / done * (self._total - done)
        return f"{seconds // 60:2.0f}:{seconds % 60:02.0f} "


def bar(done: int, total: int) -> str:
    """So much of it."""
    filled = done * WIDE // total
    return f"[{'#' * filled}{'.' * (WIDE - filled)}] {done}/{total}"
