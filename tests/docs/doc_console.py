"""Runs the console blocks of a page, in its order, in a folder with its files, on free ports."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from doc_pages import Block
from toolkit.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
SERVICES = frozenset({"9001", "9002"})
_PORT = re.compile(r"\b(8080|8443|8444|8001|8000|9001|9002)\b")


class Console:
    """A folder with the files of a page, and the processes that its commands began."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports()
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        shims = folder.parent / f"{folder.name}-bin"
        shims.mkdir()
        for name, module in (
            ("apigateway", "-m apigateway.cli"),
            ("trial", "-m twisted.trial"),
            ("python", ""),
        ):
            shim = shims / name
            shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
            shim.chmod(0o755)
        path = f"{shims}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def take(self, block: Block) -> None:
        """Write the file that a block is, or run what it says."""
        if block.language == "console":
            if "run" in block.classes:
                self._run(block)
        elif block.caption:
            file = self._folder / block.caption
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._local(block.text))

    def end(self) -> None:
        """End what still runs; each has to end well."""
        ended = []
        for command, process, log in reversed(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            ended.append((command, process.wait(), log.read_text()))
        for command, status, output in ended:
            assert status in (0, -signal.SIGTERM), (command, status, output)

    # ---- commands

    def _run(self, block: Block) -> None:
        for command, wanted in commands(block.text):
            command, wanted = self._local(command), self._local(wanted)
            if "background" in block.classes:
                self._begin(command)
            else:
                self._compare(command, wanted, again="eventually" in block.classes)

    def _compare(self, command: str, wanted: str, *, again: bool) -> None:
        until = time.monotonic() + (PATIENCE if again else 0.0)
        while True:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self._folder, env=self._environment, timeout=60, check=False, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            if matches(wanted, done.stdout) if wanted else done.returncode == 0:
                return
            assert time.monotonic() < until, f"$ {command}\n{done.stdout}\nis not\n{wanted}"

    def _begin(self, command: str) -> None:
        log = self._folder.parent / f"{self._folder.name}-{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self._folder, env=self._environment,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._running.append((command, process, log))
        for port in self._ports_of(command):
            _wait_for(port, process, log)

    def _ports_of(self, command: str) -> list[int]:
        """The ports that a program will open: those of its command line, and of the files named there."""
        local = {str(port): written for written, port in self._ports.items()}
        found = [port for port in local if re.search(rf"\b{port}\b", command)]
        for word in shlex.split(command):
            file = self._folder / word
            if file.suffix in (".yaml", ".py") and file.is_file():
                text = file.read_text()
                found += [
                    port for port in local if local[port] not in SERVICES and re.search(rf"\b{port}\b", text)
                ]
        return [int(port) for port in dict.fromkeys(found)]

    def _local(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self._ports[match[1]]), text)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console block, and what it prints."""
    found: list[tuple[str, list[str]]] = []
    going_on = False
    for line in text.splitlines():
        if going_on:
            command, printed = found[-1]
            found[-1] = (f"{command}\n{line.removeprefix('> ')}", printed)
        elif line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
        going_on = line.endswith("\\") and not found[-1][1]
    return [(command, "\n".join(printed).strip()) for command, printed in found]


def matches(wanted: str, printed: str) -> bool:
    """Whether this was printed; "..." stands for anything, ends of lines and blank ones at the end do not count."""
    pattern = re.escape(wanted).replace(re.escape("..."), ".*")
    plain = "\n".join(line.rstrip() for line in printed.splitlines()).strip()
    return re.fullmatch(pattern, plain, re.DOTALL) is not None


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    raise AssertionError(f"nothing listens on {port}:\n{log.read_text()}")


def _free_ports() -> dict[str, int]:
    return {written: free_port() for written in ("8080", "8443", "8444", "8001", "8000", "9001", "9002")}
