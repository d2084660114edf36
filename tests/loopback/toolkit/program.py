"""The gateway and an origin as the programs that they are, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from apigateway.cli.demo_processes import Processes
from apigateway.config.addresses import TcpAddress
from toolkit.gateway import Gateway
from toolkit.ports import free_port

ECHO = Path(__file__).with_name("echo_origin.py")
Settings = dict[str, Any]


class Programs:
    """An origin that echoes X-In, and gateways in front of it; all of it ends with the `with`."""

    def __init__(self) -> None:
        self._processes = Processes(print)
        self._origin = subprocess.Popen([sys.executable, str(ECHO)], stdout=subprocess.PIPE, text=True)
        assert self._origin.stdout is not None
        self.origin_url = f"http://127.0.0.1:{int(self._origin.stdout.readline())}"

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._processes.end()
        self._origin.kill()
        self._origin.communicate()

    def gateway(self, folder: Path, settings: Callable[[str], Settings], **listener: Any) -> Program:
        """Begin a gateway, and wait until it listens. settings: made of the origin's url; listener: more of it."""
        folder.mkdir(exist_ok=True)
        return Program(folder, lambda: settings(self.origin_url), self._processes, listener)


class Program:
    """A running `apigateway run`."""

    def __init__(
        self, folder: Path, settings: Callable[[], Settings], processes: Processes, listener: dict[str, Any]
    ) -> None:
        self.address = ("127.0.0.1", free_port())
        self._configured = Gateway(folder)
        self._listener = {"name": "public", "address": f"127.0.0.1:{self.address[1]}", **listener}
        self.write(settings())
        self.process = processes.gateway(self._configured.file, TcpAddress(*self.address))

    def write(self, settings: Settings) -> None:
        """Put another configuration in the place of the one before."""
        self._configured.write({"listeners": [self._listener], **settings})

    def hang_up(self) -> None:
        """Have it read its file again."""
        self.process.send_signal(signal.SIGHUP)

    def resident(self) -> int:
        """Octets of its memory."""
        statm = Path(f"/proc/{self.process.pid}/statm")
        if statm.exists():
            return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        said = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(said.stdout) * 1024

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its access log."""
        return self._configured.access()

    def events(self) -> list[dict[str, Any]]:
        """The lines of its error log."""
        return self._configured.events()
