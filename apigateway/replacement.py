"""USR2: the program is begun anew beside the running one, with its listening sockets, and takes over when it serves."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.config.addresses import TcpAddress, UnixAddress, parse_listen_address
from apigateway.ports.interfaces import IEventLog
from apigateway.transport.inherited import READY, VARIABLE, handed_over
from apigateway.transport.reactor import loop_of

log = Logger()

# Seconds in which the new program has to serve: reading a large configuration, and whatever policies provision.
READY_WITHIN = 60.0
ASIDE = ".oldbin"
# With it ends everything in its container, or on its machine: also what it begins.
FIRST_PROCESS = 1


def key_of(name: str, address: str) -> str:
    """What an address is handed over as: itself, but listeners whose port the system chose are told apart by name."""
    parsed = parse_listen_address(address)
    chosen = isinstance(parsed, TcpAddress) and parsed.port == 0
    return f"{name} {parsed}" if chosen else str(parsed)


def place_of_address(address: str) -> Any:
    """(ip, port) or a Unix socket's path, from a listener's address."""
    parsed = parse_listen_address(address)
    return parsed.path if isinstance(parsed, UnixAddress) else (parsed.host, parsed.port)


class PidFile:
    """The file that twistd keeps its process id in, found under "pidfile" in twistd's options.

    A second twistd refuses to start while the first one's file is there: so that is moved aside.
    """

    def __init__(self, options: MutableMapping[str, Any] | None) -> None:
        self._options = options
        self._moved: Path | None = None

    def move_aside(self) -> None:
        """Before the new program begins."""
        name = self._options.get("pidfile") if self._options is not None else None
        if name and Path(name).exists():
            self._moved = Path(name).absolute()
            self._moved.replace(f"{self._moved}{ASIDE}")

    def put_back(self) -> None:
        """The new program failed, and whatever it wrote is worth nothing."""
        moved, self._moved = self._moved, None
        if moved is not None:
            with contextlib.suppress(OSError):
                try:
                    Path(f"{moved}{ASIDE}").replace(moved)
                except FileNotFoundError:  # the program before this one ended meanwhile, and took it for its own
                    moved.write_text(str(os.getpid()))

    def leave(self) -> None:
        """The file is the new program's: twistd is to remove the one that was moved aside."""
        if self._moved is not None and self._options is not None:
            self._options["pidfile"] = f"{self._moved}{ASIDE}"


class Replacement:
    """Begins the same command line again. One at a time.

    sockets: gives what is handed over, by `key_of`, as descriptors. took_over: called when the new program serves.
    pid: gives the number of this process.
    """

    def __init__(
        self, reactor: Any, events: IEventLog, pid_file: PidFile, sockets: Callable[[], list[tuple[str, int]]],
        took_over: Callable[[], None], pid: Callable[[], int] = os.getpid,
    ) -> None:
        self._pid = pid
        self._reactor, self._events, self._pid_file = reactor, events, pid_file
        self._sockets, self._took_over = sockets, took_over
        # Where the command line was given: twistd may have gone elsewhere since.
        self._folder = os.getcwd()
        self._running: Deferred[None] | None = None

    def begin(self) -> None:
        """Have it done, unless it is being done. Refused as the first process of a container: the new program would
        be killed at the end of this one."""
        if self._pid() == FIRST_PROCESS:
            self._events.event(
                "error", "not replaced: the end of process 1 ends its container, and the new program with it; begin "
                "another container, then send TERM to this one",
            )
        elif self._running is None:
            self._running = Deferred.fromCoroutine(self._replace())
            self._running.addBoth(self._over)  # at once, where it could not even be begun

    def cancel(self) -> None:
        """The program ends meanwhile: the new one is told so by the end of its pipe, and killed."""
        if self._running is not None:
            self._running.cancel()

    def _over(self, result: Any) -> None:
        self._running = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            log.failure("the program could not be replaced", result)

    async def _replace(self) -> None:
        self._events.event("info", "replacing the program")
        process, reading, writing = None, -1, -1
        try:
            reading, writing = os.pipe()
            self._pid_file.move_aside()
            process = self._spawn(writing)
            os.close(writing)
            writing = -1
            said = await self._answer(reading)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(error).encode()
        except CancelledError:
            self._failed(process, "this program ends")
            raise
        finally:
            for end in (reading, writing):
                if end >= 0:
                    os.close(end)
        if said == READY:
            self._succeeded(process)
        else:
            self._failed(process, said.decode("utf-8", "replace").strip() or "it ended before it served")

    def _spawn(self, ready: int) -> subprocess.Popen[bytes]:
        sockets = self._sockets()
        environ = {**os.environ, VARIABLE: handed_over(sockets, ready)}
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]], env=environ, cwd=self._folder, stdin=subprocess.DEVNULL,
            pass_fds=(ready, *(descriptor for _, descriptor in sockets)),
        )

    def _answer(self, reading: int) -> Deferred[bytes]:
        """What the new program says before it closes its end; or that it was too late."""
        loop, said = loop_of(self._reactor), bytearray()
        answered: Deferred[bytes] = Deferred()
        os.set_blocking(reading, False)

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                octets = os.read(reading, 4096)
                said.extend(octets)
                if not octets or said == READY:
                    answered.callback(bytes(said))

        def late() -> None:
            read()  # where this program was stopped meanwhile, it has said so long ago
            if not answered.called:
                answered.callback(f"it did not serve within {READY_WITHIN:g} s".encode())

        timeout = self._reactor.callLater(READY_WITHIN, late)
        loop.add_reader(reading, read)

        def stop(result: Any) -> Any:
            loop.remove_reader(reading)
            if timeout.active():
                timeout.cancel()
            return result

        return answered.addBoth(stop)

    def _succeeded(self, process: subprocess.Popen[bytes] | None) -> None:
        pid = process.pid if process is not None else 0
        self._events.event("info", "replaced: the new program serves, this one ends", pid=pid)
        self._pid_file.leave()
        _tell_service_manager(f"MAINPID={pid}")
        self._took_over()

    def _failed(self, process: subprocess.Popen[bytes] | None, why: str) -> None:
        if process is not None:
            process.kill()
            process.wait()  # killed: it is a matter of a moment
        self._pid_file.put_back()
        self._events.event("error", "the new program failed, this one goes on", why=why)


def _tell_service_manager(text: str) -> None:
    """sd_notify(3): which process is the main one from now on. Nothing where nobody listens."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(text.encode(), f"\0{name[1:]}" if name.startswith("@") else name)
