"""`apigateway demo` on free ports, in a process of its own, and what it printed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Condition, Thread

from example_gateway import EXAMPLES
from free_ports import on_free_ports

PATIENCE = 30.0


class RunningDemo:
    """A demo of the quickstart. commands: what it says to try, by what it shows."""

    def __init__(self, folder: Path) -> None:
        text, self.ports = on_free_ports((EXAMPLES / "quickstart.yaml").read_text())
        self.file = folder / "quickstart.yaml"
        self.file.write_text(text)
        self._lines: list[str] = []
        self._changed = Condition()
        command = [sys.executable, "-m", "apigateway.cli", "demo", str(self.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        Thread(target=self._read, daemon=True).start()
        self.wait_for("What passes")
        page = "\n".join(self._lines)
        self.commands = dict(re.findall(r"^  # (.+)\n  (.+)$", page, re.MULTILINE))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """The first line from a number on that a pattern is found in; an assertion where none comes."""
        with self._changed:
            found: list[re.Match[str]] = []

            def there() -> bool:
                found.extend(match for line in self._lines[after:] if (match := re.search(pattern, line)))
                return bool(found)

            assert self._changed.wait_for(there, PATIENCE), f"{pattern!r} is not in:\n" + "\n".join(self._lines)
            return found[0]

    @property
    def printed(self) -> int:
        """Lines so far."""
        with self._changed:
            return len(self._lines)

    def try_out(self, shows: str) -> str:
        """What a command of the page prints."""
        done = subprocess.run(
            ["sh", "-c", self.commands[shows]], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (self.commands[shows], done)
        return done.stdout

    def curl(self, path: str) -> str:
        """The body of a GET on the plain listener."""
        url = f"http://127.0.0.1:{self.ports[8080]}{path}"
        return subprocess.run(["curl", "-sS", url], capture_output=True, text=True, timeout=20, check=True).stdout

    def end(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
