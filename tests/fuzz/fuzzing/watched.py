"""A search in a process of its own, so that what crashes the interpreter, or never returns, is found with its input."""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from fuzzing.mutation import LONGEST
from fuzzing.search import search
from fuzzing.target import Target

# Inputs of one search; then another begins, from another place.
ROUND = 2000
# Seconds past its time after which a search is taken to hang: it may be making a finding small.
HANGS = 120.0


@dataclass(slots=True)
class Report:
    """What came of a target. finding: the input that it failed on; trouble: how."""

    inputs: int = 0
    slowest: float = 0.0
    slowest_size: int = 0
    finding: bytes | None = None
    trouble: str = ""


class _Seen:
    """The input that is being tried, where another process can read it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4 + LONGEST)

    def note(self, data: bytes) -> None:
        self._memory.seek(0)
        self._memory.write(len(data).to_bytes(4))
        self._memory.write(data)

    def read(self) -> bytes:
        return self._memory[4 : 4 + int.from_bytes(self._memory[:4])]


def fuzz(target: Target, *, seconds: float, first: int) -> Report:
    """Search for so long, with other inputs for another `first`."""
    seen, report = _Seen(), Report()
    with _child(target, seconds, first, seen) as (process, results):
        end = time.monotonic() + seconds + HANGS
        try:
            while results.poll(max(0.0, end - time.monotonic())):
                report = results.recv()
            report.finding, report.trouble = seen.read(), f"it did not return within {HANGS:g} s"
        except EOFError:
            process.join()
            if process.exitcode != 0:
                report.finding, report.trouble = seen.read(), f"the process ended with {process.exitcode}"
    return report


@contextmanager
def _child(
    target: Target, seconds: float, first: int, seen: _Seen
) -> Iterator[tuple[multiprocessing.Process, Connection]]:
    forked = multiprocessing.get_context("fork")
    results, ours = forked.Pipe(duplex=False)
    process = forked.Process(target=_rounds, args=(target, seconds, first, seen, ours))
    process.start()
    ours.close()
    try:
        yield process, results  # type: ignore[misc]
    finally:
        process.kill()
        process.join()
        results.close()


def _rounds(target: Target, seconds: float, first: int, seen: _Seen, results: Connection) -> None:
    """Report after each round, until the time is over or something is found."""
    gc.freeze()  # else whole collections would be taken for slow inputs
    report, end, turn = Report(), time.monotonic() + seconds, first
    while time.monotonic() < end and report.finding is None:
        found = search(target, examples=ROUND, first=turn, before=seen.note, until=end)
        turn += 1
        report.inputs += found.inputs
        if found.slowest > report.slowest:
            report.slowest, report.slowest_size = found.slowest, len(found.slowest_input)
        if found.failure is not None:
            report.finding = found.failing
            report.trouble = "".join(traceback.format_exception(found.failure, limit=-6))
        results.send(report)
