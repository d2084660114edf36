"""One parser under fuzz, and how one input is tried."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

# Seconds of CPU that one input may take. All are at most mutation.LONGEST octets, and most are a few hundred.
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """seeds: valid inputs. words: what their grammar is made of.

    attempt: parses an input and checks what can be checked of the result. What the parser documents as its refusal is
    caught in there; whatever else is raised is a finding.
    """

    name: str
    attempt: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


class TooSlow(AssertionError):
    """An input took longer than any may."""


def tried(target: Target, data: bytes) -> float:
    """Seconds of CPU that an input took; raises what is wrong with it."""
    gc.disable()  # the garbage is that of the search
    try:
        began = time.thread_time()
        target.attempt(data)
        seconds = time.thread_time() - began
    finally:
        gc.enable()
    if seconds > PATIENCE:
        raise TooSlow(f"{len(data)} octets took {seconds:.1f} s")
    return seconds


def text_of(data: bytes) -> str:
    """The input as text; octets that are no UTF-8 become what stands for such."""
    return data.decode("utf-8", "replace")
