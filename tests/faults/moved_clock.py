"""A wall clock that can be moved under a process that runs; the monotonic one stays as it is.

By libfaketime, whose package brings the library along, so that nothing has to be compiled and nobody has to be root.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


class MovedClock:
    """The clock of the processes that have its environment."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.move("+0")

    def move(self, by: str) -> None:
        """To so far from the machine's: "+1h", "-1h", "+10y", a year having 365 days. Seen at the next look."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{by}\n")
        os.replace(new, self._file)

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to have it."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            # Else a wait by the monotonic clock ends at once, and two threads of an interpreter take its lock from each
            # other at every step: a page of metrics took five seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


def _library() -> Path:
    found = find_spec("libfaketime")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
