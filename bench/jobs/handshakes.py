"""TLS connections: processor time of the proxy for a handshake with one request, in full and resumed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.figures import Sample
from bench.jobs.loads import PEERS, WARM_SECONDS
from bench.loading import BadAnswers
from bench.means import Entry, Job, Means, in_turn, processes
from bench.processes import ROOT, cpu_seconds, python
from bench.proxies import Running, start_backend
from bench.scenario import Scenario

HOW = ("full", "resumed")
CONNECTIONS = 16
# The first connection of each thread has no session yet, and a server may hand out none now and then.
RESUMED_AT_LEAST = 0.6


def measure(job: str, running: Running, how: str, seconds: float) -> Sample:
    """One run. BadAnswers."""
    before = cpu_seconds(running.pid)
    load = _load(running, how, seconds)
    spent = cpu_seconds(running.pid) - before
    running.forget_log()
    return Sample(job, f"{running.label}, {how}", {
        "cpu_us": spent / load["requests"] * 1e6, "rps": load["rps"],
        "p50_ms": load["p50_ms"], "p99_ms": load["p99_ms"], "resumed": load["resumed"] / load["requests"],
    })


def _load(running: Running, how: str, seconds: float) -> dict[str, Any]:
    command = python("bench.handshakes", running.place.port, how, CONNECTIONS, seconds)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BadAnswers(f"bench.handshakes failed: {done.stderr[-400:]}")
    load: dict[str, Any] = json.loads(done.stdout)
    share = load["resumed"] / load["requests"]
    if load["wrong"] or (how == "full" and share) or (how == "resumed" and share < RESUMED_AT_LEAST):
        raise BadAnswers(f"{running.label}, {how}: {share:.0%} were resumed; {load['wrong'][:3]}")
    return load


def run(job: Job, means: Means) -> Iterator[Sample]:
    """In alternation. BadAnswers."""
    with processes() as started:
        running = means.start_all(job, started, start_backend(started)[0])
        progress = means.progress(job, len(running) * (means.rounds + 1) * len(HOW))
        for how in HOW:
            for one in running:
                progress.step(f"warming {one.label}, {how}")
                label = f"{one.label}, {how}"
                list(means.sample(job, one.proxy, label, partial(measure, job.name, one, how, WARM_SECONDS)))
            for one in in_turn(running, means.rounds):
                progress.step(f"{one.label}, {how}")
                label = f"{one.label}, {how}"
                yield from means.sample(
                    job, one.proxy, label, partial(measure, job.name, one, how, means.seconds)
                )
        progress.end()


HANDSHAKES = Job(
    "handshakes", "a TLS 1.3 connection (P-256) for each request", "cpu_us",
    tuple(Entry(name, Scenario(tls=True)) for name in ("gateway", *PEERS)), run, wrk=False,
)
