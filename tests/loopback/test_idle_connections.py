"""Thousands of idle connections and a hundred hostile clients: they cost memory, and nobody else's time."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from threading import Event

import pytest
from toolkit.idle import IdleConnections, SlowClients, descriptors
from toolkit.load import REQUEST, wait_until
from toolkit.program import Programs
from toolkit.settings import Settings, api

IDLE = 5000
FEWEST = 1000
SLOW = 100
# Descriptors beside those of idle connections, for slow clients, for connections to the origin, and for the rest.
ROOM = 600
# Each connection has a budget of 12 KiB, which the benchmarks look at; here nothing else may be out of bounds.
MOST_OCTETS = 24 * 1024

ROUNDS = 5
ASKED = 200
ATTEMPTS = 5
WITHIN = 2.0


def plain(origin: str) -> Settings:
    return {"upstreams": [{"name": "up", "targets": [{"name": "one", "url": origin}]}], "apis": [api()]}


def p99(connection: socket.socket) -> float:
    """Seconds within which 99 of a hundred answers come, on a connection that asks now and then."""
    times, pause = [], Event()
    for _ in range(ASKED):
        began = time.perf_counter()
        connection.sendall(REQUEST)
        assert b" 200 " in connection.recv(65536)
        times.append(time.perf_counter() - began)
        pause.wait(0.001)
    return sorted(times)[ASKED * 99 // 100]


def compared(quiet: tuple[str, int], crowded: tuple[str, int]) -> float:
    """The p99 of a gateway with a crowd by that of one without: measured in turn, so that whatever else the machine
    does is in both; medians."""
    with socket.create_connection(quiet, 30) as alone, socket.create_connection(crowded, 30) as among_others:
        p99(alone), p99(among_others)
        pairs = [(p99(alone), p99(among_others)) for _ in range(ROUNDS)]
    return median(other for _, other in pairs) / median(one for one, _ in pairs)


@pytest.mark.timeout(300)
def test_idle_and_slow_clients_do_not_slow_down_the_others(tmp_path: Path) -> None:
    with descriptors(IDLE + ROOM) as allowed, Programs() as programs:
        idle = min(IDLE, allowed - ROOM)
        assert idle >= FEWEST, f"only {allowed} descriptors are allowed here: raise the hard limit (ulimit -Hn)"
        quiet = programs.gateway(tmp_path / "quiet", plain)
        crowded = programs.gateway(tmp_path / "crowded", plain, limits={"idle_timeout": "300s"})
        IdleConnections(crowded.address, 50).close()
        before = crowded.resident()
        with closing(IdleConnections(crowded.address, idle)) as connections:
            each = (crowded.resident() - before) / idle
            assert each < MOST_OCTETS, f"{each:.0f} octets of memory for an idle connection"
            with closing(SlowClients(crowded.address, SLOW)) as slow:
                wait_until(lambda: slow.came >= SLOW, lambda: f"{slow.came} slow clients")
                ratios: list[float] = []
                while not ratios or (ratios[-1] >= WITHIN and len(ratios) < ATTEMPTS):
                    ratios.append(compared(quiet.address, crowded.address))
                assert ratios[-1] < WITHIN, ratios
            # Nobody was let go meanwhile.
            connections.ask()
