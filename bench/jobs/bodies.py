"""Large bodies, down and up: processor time by the octet, and whether memory stays as it is."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.figures import Sample
from bench.jobs.loads import PEERS
from bench.loading import BadAnswers
from bench.means import Entry, Job, Means, in_turn, processes
from bench.processes import ROOT, cpu_seconds, family, python, resident
from bench.proxies import Running, start_bulk
from bench.scenario import Scenario

MIB = 1024 * 1024
# (name, direction, octets, connections)
VARIANTS = (
    ("1 MiB down", "down", MIB, 4), ("1 MiB up", "up", MIB, 4),
    ("100 MiB down", "down", 100 * MIB, 2), ("100 MiB up", "up", 100 * MIB, 2),
)
LOOK_SECONDS = 0.02


class Highest:
    """The most resident memory of a proxy, looked at now and then."""

    octets = 0


@contextmanager
def watched(pid: int) -> Iterator[Highest]:
    """Looks until it is left."""
    found, over, pids = Highest(), threading.Event(), family(pid)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            found.octets = max(found.octets, sum(map(resident, pids)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def measure(job: str, running: Running, variant: tuple[str, str, int, int], seconds: float) -> Sample:
    """One run of one variant. BadAnswers."""
    name, direction, octets, connections = variant
    pid = running.pid
    before, had = cpu_seconds(pid), sum(map(resident, family(pid)))
    with watched(pid) as highest:
        moved, took = _move(running, direction, octets, connections, seconds)
    mib = moved / MIB
    running.forget_log()
    return Sample(job, f"{running.label}, {name}", {
        "cpu_us_per_mib": (cpu_seconds(pid) - before) / mib * 1e6, "mib_per_s": mib / took,
        "grown_mib": max(0.0, (highest.octets - had) / MIB),
    })


def _move(running: Running, direction: str, octets: int, connections: int, seconds: float) -> tuple[int, float]:
    """(octets moved, seconds)."""
    command = python("bench.bulk_load", running.place.port, direction, octets, connections, seconds)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 300, check=False)
    figures = json.loads(done.stdout or '{"wrong": "no output"}')
    if figures["wrong"] or done.returncode:
        raise BadAnswers(f"{running.label}, {octets} octets {direction}: {figures['wrong']} {done.stderr[-300:]}")
    return figures["octets"], figures["seconds"]


def run(job: Job, means: Means) -> Iterator[Sample]:
    """Variant by variant, the proxies in alternation. BadAnswers."""
    with processes() as started:
        running = means.start_all(job, started, start_bulk(started))
        progress = means.progress(job, len(running) * (means.rounds + 1) * len(VARIANTS))
        for variant in VARIANTS:
            for one in running:
                progress.step(f"warming {one.label}, {variant[0]}")
                label = f"{one.label}, {variant[0]}"
                list(means.sample(job, one.proxy, label, partial(measure, job.name, one, variant, 0.5)))
            for one in in_turn(running, means.rounds):
                progress.step(f"{one.label}, {variant[0]}")
                label = f"{one.label}, {variant[0]}"
                yield from means.sample(
                    job, one.proxy, label, partial(measure, job.name, one, variant, means.seconds)
                )
        progress.end()


BODIES = Job(
    "bodies", "1 MiB and 100 MiB through the proxy, over 4 and 2 connections", "cpu_us_per_mib",
    tuple(Entry(name, Scenario(bodies=True)) for name in ("gateway", *PEERS)), run, wrk=False,
)
