"""What only the garbage collector would find."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Everything has to go without it."""
    gc.unfreeze()
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def garbage() -> Counter[str]:
    """What of ours only the collector finds, by class."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = Counter(type(each) for each in gc.garbage)
    gc.garbage.clear()
    gc.collect()  # what was shown is thrown away, and not found the next time
    ours = {kind for kind in kinds if kind.__module__.startswith(("apigateway", "httptools"))}
    return Counter({kind.__name__: kinds[kind] for kind in ours})
