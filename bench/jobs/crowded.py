"""Whether a crowd of idle connections and slow clients is felt by the others: their p99 with it and without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from bench.companion import companion
from bench.figures import Sample
from bench.loading import Pace, put_load
from bench.means import Entry, Job, Means, in_turn, processes
from bench.proxies import Running, start_backend

IDLE, SLOW = 5000, 100
# About 3,000 requests a second: p99 of a proxy that is idle otherwise, not of one that is full.
PACE = Pace(wait=10.0)
SETTLE_SECONDS = 1.0


def measure(job: str, running: Running, seconds: float) -> Sample:
    """Without and with. BadAnswers: one of the others failed."""
    quiet = put_load(running.place, seconds, PACE)
    with companion("bench.crowd", running.place.port, IDLE, SLOW) as crowd:
        time.sleep(SETTLE_SECONDS)
        crowded = put_load(running.place, seconds, PACE)
    time.sleep(SETTLE_SECONDS)
    running.forget_log()
    return Sample(job, running.label, {
        "p99_ms": quiet.p99_ms, "crowd_p99_ms": crowded.p99_ms, "times": crowded.p99_ms / quiet.p99_ms,
        "lost": crowd.seen["lost"],
    })


def run(job: Job, means: Means) -> Iterator[Sample]:
    """In alternation. BadAnswers."""
    with processes() as started:
        running = means.start_all(job, started, start_backend(started)[0])
        progress = means.progress(job, len(running) * means.rounds)
        for one in in_turn(running, means.rounds):
            progress.step(one.label)
            yield from means.sample(job, one.proxy, one.label, partial(measure, job.name, one, means.seconds))
        progress.end()


CROWD = Job(
    "crowd", f"p99 of paced requests without and with {IDLE:,} idle connections and {SLOW} slow clients",
    "crowd_p99_ms", tuple(Entry(name) for name in ("gateway", "envoy", "nginx", "haproxy")), run,
)
