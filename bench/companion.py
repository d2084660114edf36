"""A process that does something beside the load until it is told to stop, and then says what it saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.processes import ROOT, python

STOP_SECONDS = 30.0


class Companion:
    """seen: what it said at its end."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}


@contextmanager
def companion(module: str, *arguments: object) -> Iterator[Companion]:
    """From its `ready` on; `seen` is there once it is left. RuntimeError: it did not get ready, or failed."""
    found = Companion()
    with subprocess.Popen(
        python(module, *arguments), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{module} did not get ready")
            yield found
            said, _ = process.communicate("", STOP_SECONDS)
            found.seen = json.loads(said)
        finally:
            if process.poll() is None:
                process.kill()
