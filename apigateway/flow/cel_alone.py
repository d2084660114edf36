"""CEL, without the command line that its package imports with it: 0.1 s of each start, and 10 MB of each process."""

from __future__ import annotations

import sys
from types import ModuleType


def _import() -> ModuleType:
    """`cel/__init__.py` says `from . import cli`: while it does, something empty stands there. Whoever wants `cel.cli`
    later gets the real one."""
    name = "cel.cli"
    missing = name not in sys.modules
    if missing:
        sys.modules[name] = ModuleType(name)
    try:
        import cel
    finally:
        if missing:
            del sys.modules[name]
    if missing and "cli" in vars(cel):
        del cel.cli
    return cel


cel = _import()
