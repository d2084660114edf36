"""What passes the demo's gateway, as a line that lives on a terminal, or as lines where there is none."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any, TextIO

CLEAR = "\r\x1b[2K"


class Traffic:
    """Reads what the gateway writes to standard output: exchanges and events, a line of JSON each."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.passed = 0
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()

    def take(self, line: str) -> None:
        """Show one line of the gateway's."""
        try:
            record = json.loads(line)
        except ValueError:
            self.say(line.rstrip())
            return
        if "duration_ms" in record:
            self.passed += 1
            self._show(f"{self.passed} passed, last: {described(record)}")
        elif record.get("level") in ("warn", "error") or record.get("message") in _EVENTS:
            self.say(f"gateway: {told(record)}")

    def say(self, text: str) -> None:
        """A line that stays, above the live one."""
        self._stream.write(f"{CLEAR if self._live else ''}{printable(text)}\n")
        self._stream.flush()

    def _show(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"{CLEAR}{printable(text)[:width]}")
        else:
            self._stream.write(f"{printable(text)}\n")
        self._stream.flush()


_EVENTS = ("reloaded", "revision taken", "serving")


def described(record: dict[str, Any]) -> str:
    """An exchange in short: "GET /hello -> 200 from one, 2 attempts, 3.1 ms"."""
    parts = [f"{record['method']} {record['target']} -> {record['status']}"]
    if record["target_name"]:
        parts[0] += f" from {record['target_name']}"
    if record["attempts"] > 1:
        parts.append(f"{record['attempts']} attempts")
    if "fault" in record:
        parts.append(record["fault"]["type"])
    return ", ".join((*parts, f"{record['duration_ms']['total']:.1f} ms"))


def told(record: dict[str, Any]) -> str:
    """An event in short: its message, then what else it says."""
    rest = {key: value for key, value in record.items() if key not in ("time", "level", "message", "source")}
    return " ".join((str(record.get("message", "")), *(f"{key}={value}" for key, value in rest.items())))


def printable(text: str) -> str:
    """The text without what would steer a terminal: clients choose parts of it."""
    return "".join(char if char.isprintable() else "?" for char in text)
