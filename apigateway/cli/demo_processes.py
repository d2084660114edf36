"""The demo's processes: services and a gateway, begun together and ended together.

Plain subprocesses, waited for by threads: no event loop here could lose the exit of a child.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import IO, Any

from apigateway.config.addresses import TcpAddress

START_WITHIN = 20.0
END_WITHIN = 10.0


class NotStarted(Exception):
    """A process ended before it served; the text says what it said."""


class Processes:
    """Child processes in groups of their own, so that Ctrl-C reaches them through us, in order."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._begun: list[subprocess.Popen[str]] = []
        self._ending = False

    def service(self, name: str, address: TcpAddress) -> str:
        """Start a demo service, wait until it listens, and tell when it ends; the command that would end it."""
        command = [
            sys.executable, "-m", "apigateway.cli.demo_service",
            "--name", name, "--host", address.host, "--port", str(address.port),
        ]  # fmt: skip
        process = self.begin(command, address, stdout=subprocess.DEVNULL)
        Thread(target=self._watch, args=(name, command, process), daemon=True).start()
        return f"kill {process.pid}"

    def gateway(self, file: Path, address: TcpAddress) -> subprocess.Popen[str]:
        """Start the gateway and wait until it listens at an address; its standard output is a pipe."""
        command = [sys.executable, "-m", "apigateway.cli", "run", str(file)]
        return self.begin(command, address, stdout=subprocess.PIPE)

    def end(self) -> None:
        """End all, the gateway first, since it is the last begun: it drains while the services still answer."""
        self._ending = True
        for process in reversed(self._begun):
            process.terminate()
            try:
                process.wait(END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def begin(self, command: list[str], address: TcpAddress, *, stdout: int) -> subprocess.Popen[str]:
        """Start a command and wait until it listens at an address. NotStarted where it ends before."""
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors, text=True, start_new_session=True
            )
            self._begun.append(process)
            _wait_until_listening(process, address, errors)
        return process

    def _watch(self, name: str, command: list[str], process: subprocess.Popen[Any]) -> None:
        process.wait()
        if not self._ending:
            self._say(f"Service {name} has ended. To start it again: {shlex.join(command)}")


def _wait_until_listening(process: subprocess.Popen[str], address: TcpAddress, errors: IO[str]) -> None:
    for _ in range(int(START_WITHIN / 0.05)):
        with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    errors.seek(0)
    raise NotStarted(errors.read().strip() or f"nothing listens at {address}")


def interrupt_on_signals() -> None:
    """Have TERM and HUP end the demo as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
