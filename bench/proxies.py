"""The proxies that are measured side by side, and the backend behind all of them."""

from __future__ import annotations

import os
import socket
import ssl
import time
from dataclasses import dataclass, replace

from bench.job import BODY, requests
from bench.peers.caddy import CADDY
from bench.peers.envoy import ENVOY
from bench.peers.express import EXPRESS
from bench.peers.gateway import PROXIES as OWN
from bench.peers.haproxy import HAPROXY
from bench.peers.nginx import NGINX
from bench.place import TEMPLATES, Place, Proxy, filled, program
from bench.processes import READY_SECONDS, NotStarted, Processes, free_ports, python
from bench.scenario import PLAIN, Scenario

PROXIES = {proxy.name: proxy for proxy in (*OWN, ENVOY, NGINX, HAPROXY, CADDY, EXPRESS)}


# They write it in batches, the slowest every ten seconds.
LOG_SECONDS = 12.0


class Missing(Exception):
    """A peer is not installed, or cannot do the job; the text says what would make it be."""


@dataclass(slots=True)
class Running:
    """A proxy that serves."""

    proxy: Proxy
    place: Place
    pid: int

    @property
    def label(self) -> str:
        """What the tables call it."""
        return self.place.name

    def forget_log(self) -> None:
        """Empty its access log; all of them append, so that they go on at the start. AssertionError: it had none."""
        if not self.proxy.logs:
            return
        late = time.monotonic() + LOG_SECONDS
        while not self.place.log.stat().st_size:
            if time.monotonic() > late:
                raise AssertionError(f"{self.label} wrote no access log: this would be no fair comparison")
            time.sleep(0.05)
        os.truncate(self.place.log, 0)


def start_backend(processes: Processes) -> tuple[tuple[int, int], str]:
    """(its two ports, what it is)."""
    one, two = free_ports(2)
    folder = processes.folder
    found = program("nginx")
    if found is None:
        processes.start("backend", python("bench.backend", one, two), (one, two))
        return (one, two), "bench.backend on uvloop (nginx is not installed)"
    path = folder / "backend.conf"
    path.write_text(filled((TEMPLATES / "backend.conf").read_text(), ONE=one, TWO=two, FOLDER=folder))
    processes.start("backend", [found, "-c", str(path)], (one, two))
    return (one, two), "nginx"


def start_bulk(processes: Processes) -> tuple[int, int]:
    """The ports of a backend of large bodies."""
    one, two = free_ports(2)
    processes.start("bulk", python("bench.bulk", one, two), (one, two))
    return one, two


def start_proxy(
    processes: Processes, proxy: Proxy, backends: tuple[int, int], scenario: Scenario = PLAIN, label: str = ""
) -> Running:
    """Start it and see that it does the job. label: its name among the others. Missing, NotStarted."""
    place = Place(label or proxy.name, free_ports(1)[0], backends, processes.folder, scenario)
    command = proxy.command(place)
    if isinstance(command, str):
        raise Missing(command)
    ports = [place.port, *([scenario.management] if scenario.management else [])]
    pid = processes.start(place.name, command, ports)
    see_answer(place)
    return Running(proxy, place, pid)


def with_management(scenario: Scenario) -> Scenario:
    """The same, and ours has a management listener."""
    return replace(scenario, management=free_ports(1)[0])


def connected(place: Place, timeout: float = 5.0) -> socket.socket:
    """A connection to a proxy. OSError."""
    plain = socket.create_connection(("127.0.0.1", place.port), timeout=timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not place.scenario.tls:
        return plain
    return _TRUSTING.wrap_socket(plain, server_hostname="api.example.test")


_TRUSTING = ssl._create_unverified_context()


def see_answer(place: Place) -> None:
    """Wait for the answer to a request of the job: a port may be open before a worker is there. NotStarted."""
    try:
        with connected(place, READY_SECONDS) as connection:
            answer = exchange(connection, requests(place.scenario)[0])
    except OSError as error:
        raise NotStarted(f"{place.name} does not answer: {error}") from error
    if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(BODY.encode())):
        raise NotStarted(f"{place.name} answers {answer[:300]!r}")


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """One request of the job and what is answered, to the end of its body. OSError."""
    connection.sendall(request)
    answer = b""
    while not answer.endswith(BODY.encode()) and (more := connection.recv(65536)):
        answer += more
    return answer
