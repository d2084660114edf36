"""How a worker is begun: by the same interpreter, told the same."""

from __future__ import annotations

import sys

# As sys.flags names them; -X and -W are kept elsewhere. "-i" and what prints something are for the program alone.
_SWITCHES = {
    "debug": "d", "optimize": "O", "dont_write_bytecode": "B", "no_user_site": "s", "no_site": "S",
    "ignore_environment": "E", "bytes_warning": "b", "isolated": "I",
}


def command(module: str, *arguments: str) -> list[str]:
    """That runs a module of ours. Never looks for modules in the current folder (-P)."""
    return [sys.executable, "-P", *_switches(), "-m", module, *arguments]


def _switches() -> list[str]:
    """What this interpreter was started with. What it took from the environment is told twice, and means the same."""
    switches = [
        f"-{letter * times}" for name, letter in _SWITCHES.items() if (times := int(getattr(sys.flags, name)))
    ]
    options = [name if value is True else f"{name}={value}" for name, value in sys._xoptions.items()]
    return [
        *switches,
        *(part for option in options for part in ("-X", option)),
        *(part for warning in sys.warnoptions for part in ("-W", warning)),
    ]
