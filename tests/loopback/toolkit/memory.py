"""How much memory this process has taken meanwhile."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Growth:
    """grown: octets of resident memory at its highest, above those at the start; `look` looks."""

    def __init__(self) -> None:
        self._start = resident()
        self.grown = 0

    def look(self) -> None:
        self.grown = max(self.grown, resident() - self._start)


@contextmanager
def growth() -> Iterator[Growth]:
    """Measure what happens inside."""
    gc.collect()
    measured = Growth()
    yield measured
    measured.look()


def resident() -> int:
    """Octets of resident memory: now on Linux, the most there ever were elsewhere."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
