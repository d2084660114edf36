"""The gateway as a process of its own, before origins of the stage: what is done to it is done to nobody else."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit.client import Client, connect
from toolkit.gateway import MANAGEMENT_HASH, Gateway
from toolkit.message import Answer
from toolkit.stage import Stage
from toolkit.waiting import reactor, turn, until

# How long a process may take to start or to end on a machine that has much else to do.
SLOWLY = 30.0


class GatewayProcess(Gateway):
    """`apigateway run` on the file that `write` wrote. Its logs are read as those of a gateway in the test's reactor.

    process: once it is started. limits: of its listener.
    """

    def __init__(self, folder: Path, **limits: str) -> None:
        super().__init__(folder)
        self._limits = limits
        self.process: subprocess.Popen[bytes] = None  # type: ignore[assignment]
        self._place = _free_place()

    def _process(self) -> dict[str, Any]:
        host, port = self._place
        tokens = [{"name": "test", "sha256": MANAGEMENT_HASH}]
        return {
            **super()._process(),
            "listeners": [{"name": "public", "address": f"{host}:{port}", "limits": self._limits}],
            "management": {"address": f"unix:{self.management}", "tokens": tokens},
        }

    async def start(  # type: ignore[override]
        self, *, uvloop: bool = True, before: Sequence[str] = (), **environ: str
    ) -> None:
        """Start, and wait until it serves. before: a command that runs it. uvloop: False hides it from the process."""
        if not uvloop:
            hidden = self.folder / "without"
            hidden.mkdir()
            (hidden / "uvloop.py").write_text('raise ImportError("this test is about the interpreter\'s loop")\n')
            paths = [str(hidden), os.environ.get("PYTHONPATH", ""), os.getcwd()]
            environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        command = [*before, sys.executable, "-m", "apigateway.cli", "run", str(self.file)]
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **environ}, start_new_session=True,
            )  # fmt: skip
        await until(self._serves, lambda: self.output(), within=SLOWLY)

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.output()
        with socket.socket() as probe:
            return probe.connect_ex(self._place) == 0

    async def stop(self) -> None:
        """Drain and end; no more than once. Whoever takes too long is killed, and that fails the test."""
        process, self.process = self.process, None  # type: ignore[assignment]
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await until(lambda: process.poll() is not None, "the gateway ends", within=SLOWLY)
        finally:
            process.kill()
            process.wait()

    def address(self, listener: int = 0) -> tuple[str, int]:
        return self._place

    @property
    def management(self) -> str:  # type: ignore[override]
        return str(self.folder / "m")

    def output(self) -> str:
        """What it said on standard output and standard error."""
        return (self.folder / "output").read_text()

    # ---- what it is asked

    async def told(self, target: str, method: str = "GET", within: float = 5.0) -> Answer:
        """A management call."""
        client = await connect(self.management)
        try:
            return await client.ask(method, target, "Authorization: Bearer operator", within=within)
        finally:
            client.close()

    async def metric(self, name: str, labels: str = "") -> float:
        """A figure of the metrics page; 0 where it is not there. labels: as they stand there, {} and all."""
        text = (await self.told("/metrics")).body.decode()
        found = re.search(rf"^{re.escape(name + labels)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    # ---- what the kernel knows

    def descriptors(self) -> list[int]:
        """Those that are open."""
        return sorted(int(name) for name in os.listdir(f"/proc/{self.process.pid}/fd"))

    def limit_descriptors(self, most: int | None) -> None:
        """Let it have no number from `most` on; None: as many as it may have."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        soft = hard if most is None else most
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (soft, hard))

    def limit_files(self, octets: int | None) -> None:
        """Let no file that it writes grow over this."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = hard if octets is None else octets
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def busy(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def process_on(
    stage: Stage, settings: dict[str, Any], *, limits: dict[str, str] | None = None, **how: Any
) -> GatewayProcess:
    """A gateway process with these settings, which the stage ends. limits: of its listener."""
    stage.gateway = gateway = GatewayProcess(stage.folder, **(limits or {}))
    gateway.write(settings)
    await gateway.start(**how)
    return gateway


async def eventually(condition: Callable[[], Awaitable[object]], within: float = SLOWLY) -> None:
    """Ask until it is so."""
    end = reactor.seconds() + within
    while not await condition():
        assert reactor.seconds() < end, f"not within {within:g} s"
        await turn(0.02)


async def fetched(client: Client, target: str = "/", *lines: str) -> int:
    """The status of a GET."""
    return (await client.ask("GET", target, *lines)).status


def _free_place() -> tuple[str, int]:
    """A port on a loopback address that nobody else calls from or listens on: it stays free until it is used."""
    host = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, probe.getsockname()[1]
