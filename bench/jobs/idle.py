"""What an idle connection holds: memory of the proxy before and after so many were opened, used once, and kept."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from bench.figures import Sample
from bench.job import requests
from bench.jobs.loads import PEERS
from bench.loading import BadAnswers
from bench.means import Entry, Job, Means, processes
from bench.processes import family, memory
from bench.proxies import Running, connected, exchange, start_backend
from bench.scenario import Scenario

CONNECTIONS = 2000
# So many are there before, and are not counted: what is needed once, and what the start left free, is used up by then.
BEFORE = 1000
SETTLE_SECONDS = 0.5
ASKED = requests()
MOST_ROUNDS = 3


def measure(job: str, running: Running) -> Sample:
    """One run, of a proxy that was started for it. BadAnswers."""
    with ExitStack() as held:
        kept = [held.enter_context(_used(running, number)) for number in range(BEFORE)]
        time.sleep(SETTLE_SECONDS)
        had = sum(map(memory, family(running.pid)))
        kept += [held.enter_context(_used(running, number)) for number in range(CONNECTIONS)]
        time.sleep(SETTLE_SECONDS)
        has = sum(map(memory, family(running.pid)))
        _none_closed(running, [connection.fileno() for connection in kept])
    return Sample(job, running.label, {"kib": (has - had) / CONNECTIONS / 1024})


def _used(running: Running, number: int) -> socket.socket:
    """A connection over which a request was answered. BadAnswers."""
    connection = connected(running.place)
    if not exchange(connection, ASKED[number]).startswith(b"HTTP/1.1 200 "):
        raise BadAnswers(f"{running.label} did not answer over connection {number}")
    return connection


def _none_closed(running: Running, numbers: list[int]) -> None:
    poll = select.poll()
    for number in numbers:
        poll.register(number, select.POLLRDHUP | select.POLLHUP)
    if closed := poll.poll(0):
        raise BadAnswers(f"{running.label} closed {len(closed)} of {len(numbers)} idle connections")


def run(job: Job, means: Means) -> Iterator[Sample]:
    """Each time a process of its own: memory that was used once is used again. BadAnswers."""
    entries, rounds = means.entries(job), min(means.rounds, MOST_ROUNDS)
    progress = means.progress(job, len(entries) * rounds)
    for _ in range(rounds):
        for entry in entries:
            progress.step(entry.label)
            with processes() as started:
                running = means.start(job, entry, started, start_backend(started)[0])
                if running is not None:
                    yield from means.sample(job, running.proxy, entry.label, partial(measure, job.name, running))
    progress.end()


IDLE = Job(
    "idle", f"memory of {CONNECTIONS:,} idle connections, one request over each", "kib",
    tuple(
        Entry(name, scenario, how) for how, scenario in (("plain", Scenario()), ("TLS", Scenario(tls=True)))
        for name in ("gateway", *PEERS)
    ), run, wrk=False,
)
