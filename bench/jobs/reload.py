"""Reloads of 1,000 Apis under load: no request fails, and how long the worker is not there for others."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

from bench.companion import companion
from bench.figures import Sample
from bench.job import requests
from bench.loading import Load, Pace, put_any_load
from bench.means import Entry, Job, Means, processes
from bench.peers.gateway import TOKEN, configured
from bench.proxies import Running, start_backend, with_management
from bench.scenario import PLAIN, Scenario

APIS = 1000
PACE = Pace(wait=10.0)
# Of few routes: what is measured is the reload, not thousands of counters.
ASKED = requests(PLAIN)
RELOADS = 3
BETWEEN_SECONDS = 0.5
REPLY_SECONDS = 60.0


def measure(job: str, running: Running, seconds: float) -> Sample:
    """The longest answer of a prober while nothing is reloaded, and while it is, over and over."""
    with companion("bench.prober", running.place.port) as quiet, loaded(running, seconds) as before:
        time.sleep(seconds)
    lags = _lags(running)
    took: list[float] = []
    with companion("bench.prober", running.place.port) as prober, loaded(running, seconds) as during:
        for number in range(RELOADS):
            took.append(_reload(running, f"{time.time()}-{number}"))
            time.sleep(BETWEEN_SECONDS)
    running.forget_log()
    return Sample(job, running.label, {
        "failed": sum(load.failed for load in before + during) + prober.seen["failed"], "reloads": RELOADS,
        "reload_ms": median(took) * 1000, "quiet_pause_ms": quiet.seen["longest_ms"],
        "pause_ms": prober.seen["longest_ms"], "lag_ms": _highest(lags, _lags(running)),
    })


@contextmanager
def loaded(running: Running, seconds: float) -> Iterator[list[Load]]:
    """Load, in pieces of so many seconds, until it is left and the last of them is over."""
    loads: list[Load] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            loads.append(put_any_load(running.place, seconds, PACE, ASKED))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield loads
    finally:
        over.set()
        thread.join()


def _reload(running: Running, count_as: str) -> float:
    """Seconds that a reload of a changed configuration took. AssertionError: it was not taken."""
    place = running.place
    configured(replace(place, scenario=replace(place.scenario, count_as=count_as)))
    request = urllib.request.Request(
        f"http://127.0.0.1:{place.scenario.management}/v1/worker/reload", b"",
        {"Authorization": f"Bearer {TOKEN}"}, method="POST",
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=REPLY_SECONDS) as answer:
        said = answer.read()
    if b'"taken":true' not in said:
        raise AssertionError(f"the reload was not taken: {said[:300]!r}")
    return time.perf_counter() - began


def _lags(running: Running) -> dict[float, float]:
    """How often the worker's loop was late by at most so many seconds: by its own metrics."""
    url = f"http://127.0.0.1:{running.place.scenario.management}/metrics"
    with urllib.request.urlopen(url, timeout=REPLY_SECONDS) as answer:
        text = answer.read().decode()
    found = re.findall(r'^apigateway_loop_lag_seconds_bucket\{.*?le="([^"]+)".*?\} (\S+)', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def _highest(before: dict[float, float], after: dict[float, float]) -> float:
    """Milliseconds that it was late by at most, in between: the bucket's bound."""
    late = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    total = max(late.values(), default=0.0)
    return min((bound for bound, count in late.items() if count >= total), default=0.0) * 1000


def run(job: Job, means: Means) -> Iterator[Sample]:
    """Round by round, of the one process. BadAnswers, AssertionError."""
    with processes() as started:
        backends = start_backend(started)[0]
        entries = [
            replace(entry, scenario=with_management(entry.scenario)) for entry in means.entries(job)
        ]
        running = [one for entry in entries if (one := means.start(job, entry, started, backends)) is not None]
        progress = means.progress(job, len(running) * means.rounds)
        for _ in range(means.rounds):
            for one in running:
                progress.step(one.label)
                yield measure(job.name, one, means.seconds)
        progress.end()


RELOAD = Job(
    "reload", f"{APIS:,} Apis of 10 routes reloaded over and over under load; a prober asks every millisecond",
    "pause_ms", (Entry("gateway", Scenario(routes=APIS * 10)),), run,
)
