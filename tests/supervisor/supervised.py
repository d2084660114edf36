"""A gateway in processes of its own, steered by its management API and by signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families
from toolkit.ports import free_port

from apigateway.cli.demo_processes import Processes
from apigateway.config.addresses import TcpAddress

T = TypeVar("T")
PATIENCE = 60.0
TOKEN = "operator"
TOKEN_HASH = "06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"
RUN = (sys.executable, "-m", "apigateway.cli", "run")
# The same with other limits than the program's own, set before: see Program.start.
RUN_WITH = (sys.executable, "-c")
AND_RUN = "from apigateway.cli.main import main; main()"
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon")

# Says which process answers; dies when told so; is refused by a second worker while a file is there.
WHO = '''"""Which process answers."""
import gc
import os
import signal
from pydantic import Field
from zope.interface import implementer
from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Reply


class Config(Settings):
    mark: str = Field(default="", description="Said, too.")
    once: str = Field(default="", description="A file that may not be there, and is made.")


@implementer(IOnRequest)
class Who:
    def __init__(self, config):
        self._config = config

    def provision(self, services):
        if self._config.once:
            os.close(os.open(self._config.once, os.O_CREAT | os.O_EXCL))

    def close(self):
        pass

    def on_request(self, exchange):
        if exchange.request.headers.get(b"x-die") is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        asked = exchange.request.headers.get(b"x-collects") is not None
        return Reply(200, [], f"{os.getpid()} {gc.isenabled() if asked else self._config.mark}".encode())


KIND = kind("who", config=Config, policy=Who)
EXAMPLES = (Example("Says who", {}, (Call(status=200, sent=False),)),)
'''
# Is provisioned as a file says: not at all, by the death of the process, or when it says something else.
MOODY = '''"""Provisioned as a file says."""
import os
import signal
from pathlib import Path
from pydantic import Field
from twisted.internet.defer import Deferred
from zope.interface import implementer
from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    file: str = Field(default="", description="Says fail, die or hang; else it is fine.")


@implementer(IOnRequest)
class Moody:
    def __init__(self, config):
        self._file = Path(config.file)

    def provision(self, services):
        mood = self._file.read_text() if self._file.is_file() else ""
        if mood == "fail":
            raise ValueError("in no mood")
        if mood == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood != "hang":
            return None
        self._file.with_name(f"hangs-{os.getpid()}").touch()
        done = Deferred()
        self._wait(done, services.timers)
        return done

    def _wait(self, done, timers):
        if self._file.read_text() == "hang":
            timers.call_later(0.05, self._wait, done, timers)
        elif not done.called:
            done.callback(None)

    def close(self):
        pass

    def on_request(self, exchange):
        return None


KIND = kind("moody", config=Config, policy=Moody)
EXAMPLES = (Example("Is fine", {}, (Call(status=200),)),)
'''


def until(condition: Callable[[], T], what: str | Callable[[], object] = "", within: float = PATIENCE) -> T:
    """Wait for a condition, and return what it said."""
    end, pause = time.monotonic() + within, threading.Event()
    while True:
        said = condition()
        if said:
            return said
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what() if callable(what) else what}")
        pause.wait(0.02)


class Program:
    """One gateway on a file in a folder. fields: of the last answer to a management call."""

    def __init__(self, folder: Path, processes: Processes, addresses: tuple[TcpAddress, TcpAddress]) -> None:
        self.folder, self._processes = folder, processes
        self.public, self.management = addresses
        self.file = folder / "gateway.json"
        self.process: subprocess.Popen[str] = None  # type: ignore[assignment]
        self.fields: dict[str, str] = {}
        (folder / "policies").mkdir()
        (folder / "policies/who.py").write_text(WHO)
        (folder / "policies/moody.py").write_text(MOODY)

    def write(self, workers: int | str = 2, *, mark: str = "", once: str = "", **more: Any) -> None:
        """The whole configuration, in one step."""
        moody = {"policy": "moody", "with": {"file": str(self.folder / "mood")}}
        who = {"policy": "who", "with": {"mark": mark, "once": once}}
        settings = {
            "version": 1,
            "listeners": [{"name": "public", "address": str(self.public)}],
            "management": {"address": str(self.management), "tokens": [{"name": "ops", "sha256": TOKEN_HASH}]},
            "workers": workers,
            "policy_paths": ["policies"],
            "logs": {"access": "access.log", "error": "error.log"},
            "drain": {"notice": "300ms", "timeout": "5s"},
            "apis": [{"name": "who", "routes": [{"name": "all", "pre_flow": {"request": [moody, who]}}]}],
            **more,
        }
        self.put(json.dumps(settings))

    def mood(self, text: str) -> None:
        """How provisioning goes from now on: fail, hang, die, or well."""
        (self.folder / "mood").write_text(text)

    def hangs(self, slot: int) -> int:
        """Wait until the worker of a slot hangs while it starts: its process."""

        def pid() -> int:
            pid: int | None = self.pids()[slot]
            return pid if pid is not None and (self.folder / f"hangs-{pid}").exists() else 0

        return until(pid, lambda: self.workers())

    def put(self, text: str) -> None:
        """The file's text."""
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.file)

    def start(self, *command: str) -> None:
        """Begin it, and wait until it serves. command: instead of RUN; `limited` gives one."""
        self.begin(*command)
        self.wait_ready()
        assert self.process.poll() is None, "it ended; another program answers on its address"

    def begin(self, *command: str) -> None:
        """Begin it."""
        whole = [*(command or RUN), str(self.file)]
        self.process = self._processes.begin(whole, self.public, stdout=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        """Wait until the management listener says so, and all workers do."""
        until(self._is_ready, lambda: self.events())

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/readyz")[0] == 200
        return False

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """A management call."""
        connection = http.client.HTTPConnection(self.management.host, self.management.port, timeout=PATIENCE)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            self.fields = dict(response.getheaders())
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What a management call answers."""
        status, body = self.call("GET", f"/v1/worker/{path}")
        assert status == 200, body
        return json.loads(body)

    def reload(self) -> tuple[int, Any]:
        """Have the file taken."""
        status, body = self.call("POST", "/v1/worker/reload")
        return status, json.loads(body)

    def workers(self) -> list[dict[str, Any]]:
        """Of the status."""
        workers: list[dict[str, Any]] = self.get("status")["workers"]
        return workers

    def pids(self) -> list[int]:
        """Of the workers, in the order of slots."""
        return [worker["pid"] for worker in self.workers()]

    def wait_workers(self, state: str = "ready") -> None:
        """Wait until all workers are in a state."""
        until(lambda: all(worker["state"] == state for worker in self.workers()), lambda: self.workers())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        text = self.call("GET", "/metrics")[1].decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"apigateway_{name}" and labels.items() <= sample.labels.items()
        )

    def ask(self, headers: dict[str, str] | None = None, timeout: float = PATIENCE) -> tuple[int, str]:
        """One request on a connection of its own: the process that answered, and the mark."""
        connection = http.client.HTTPConnection(self.public.host, self.public.port, timeout=timeout)
        try:
            connection.request("GET", "/", headers=headers or {})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            pid, _, mark = body.decode().partition(" ")
            return int(pid), mark
        finally:
            connection.close()

    def events(self, message: str = "") -> list[dict[str, Any]]:
        """Lines of the error log with a message."""
        log = self.folder / "error.log"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if message in event["message"]]

    def event(self, message: str) -> dict[str, Any]:
        """The first one, once it is there."""
        return until(lambda: self.events(message), lambda: self.events())[0]

    def signal(self, number: int) -> None:
        """To the program."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End programs that are no children of the test."""
        for event in self.events("replaced"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(event["pid"], signal.SIGTERM)
        for event in self.events("replaced"):
            until(lambda pid=event["pid"]: gone(pid), "it ends")  # type: ignore[misc]


@contextlib.contextmanager
def program_in(folder: Path, host: str = "127.0.0.1") -> Iterator[Program]:
    """A program on a folder, with free ports of a host; ended with everything that it began."""
    addresses = (TcpAddress(host, free_port(host)), TcpAddress(host, free_port(host)))
    processes = Processes(print)
    program = Program(folder, processes, addresses)
    try:
        yield program
        program.end()
    finally:
        processes.end()


def gone(pid: int) -> bool:
    """Whether there is no such process, or only what is left of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def limited(setting: str) -> tuple[str, ...]:
    """The command of a program that this Python is run in before."""
    return (*RUN_WITH, f"{setting}; {AND_RUN}", "run")


class Load:
    """Requests, one after the other on each of several kept connections, until told to end.

    answers: by process. lost: of each request that failed, the process that had answered on its connection before (0:
    none had), and why. A connection that was never answered on may be refused while nobody has to listen (`closing`).
    """

    def __init__(self, program: Program, connections: int = 4) -> None:
        self._program = program
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: dict[int, int] = {}
        self.lost: list[tuple[int, str]] = []
        self.closing = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        try:
            until(lambda: self.count >= 20, lambda: f"the load runs: {self.count} answers; lost: {self.lost[-4:]}")
        except BaseException:
            self.__exit__()  # threads that go on would burden every test after this one
            raise
        return self

    def __exit__(self, *what: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def count(self) -> int:
        """Requests that were answered."""
        with self._lock:
            return sum(self.answers.values())

    def more(self, count: int = 50) -> None:
        """Wait until so many more are answered."""
        wanted = self.count + count
        until(lambda: self.count >= wanted, lambda: f"{self.count} answers, {wanted} wanted; lost: {self.lost}")

    def _run(self) -> None:
        while not self._stop.is_set():
            address = self._program.public
            connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE)
            self._on(connection)
            connection.close()

    def _on(self, connection: http.client.HTTPConnection) -> None:
        pid = 0
        while not self._stop.is_set():
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200, body
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self._failed(pid, error)
                return
            pid = int(body.split()[0])
            with self._lock:
                self.answers[pid] = self.answers.get(pid, 0) + 1
            if response.getheader("connection") == "close":
                return

    def _failed(self, pid: int, error: Exception) -> None:
        if pid == 0 and self.closing:
            self._stop.set()
            return
        with self._lock:
            self.lost.append((pid, repr(error)))
