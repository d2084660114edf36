"""Jobs of small requests at full speed: processor time of the proxy for each that is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bench.figures import Sample
from bench.loading import put_load
from bench.means import Entry, Job, Means, in_turn, processes
from bench.place import program
from bench.processes import cpu_seconds, free_ports
from bench.proxies import Running, start_backend
from bench.scenario import Scenario

WARM_SECONDS = 1.0
PEERS = ("envoy", "nginx", "haproxy", "caddy", "express")


def measure(job: str, running: Running, seconds: float) -> Sample:
    """One run. BadAnswers."""
    before = cpu_seconds(running.pid)
    load = put_load(running.place, seconds)
    spent = cpu_seconds(running.pid) - before
    running.forget_log()
    return Sample(job, running.label, {
        "cpu_us": spent / load.requests * 1e6, "rps": load.rps, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms,
    })


def run(job: Job, means: Means) -> Iterator[Sample]:
    """All at the same backend, in alternation. BadAnswers."""
    with processes() as started:
        running = means.start_all(job, started, start_backend(started)[0])
        progress = means.progress(job, len(running) * (means.rounds + 1))
        for one in running:
            progress.step(f"warming {one.label}")
            list(means.sample(job, one.proxy, one.label, partial(measure, job.name, one, WARM_SECONDS)))
        for one in in_turn(running, means.rounds):
            progress.step(one.label)
            yield from means.sample(job, one.proxy, one.label, partial(measure, job.name, one, means.seconds))
        progress.end()


def run_limits(job: Job, means: Means) -> Iterator[Sample]:
    """The same, with a Redis for those that count there. BadAnswers."""
    with processes() as started:
        entries = job.entries
        server = program("redis-server")
        if server is None:
            means.missing["redis"] = "redis-server is not installed: apt install redis-server"
            entries = tuple(entry for entry in entries if entry.scenario.limit != "redis")
        else:
            (port,) = free_ports(1)
            quiet = ("--save", "", "--appendonly", "no", "--dir", str(started.folder))
            started.start("redis", [server, "--port", str(port), "--bind", "127.0.0.1", *quiet], [port])
            entries = tuple(_with_state(entry, f"redis://127.0.0.1:{port}") for entry in entries)
        yield from run(replace(job, entries=entries), means)


def _with_state(entry: Entry, url: str) -> Entry:
    if entry.scenario.limit != "redis":
        return entry
    return replace(entry, scenario=replace(entry.scenario, state=url))


def _all(scenario: Scenario, *names: str) -> tuple[Entry, ...]:
    return tuple(Entry(name, scenario) for name in names)


def _each(names: tuple[str, ...], scenarios: dict[str, Scenario]) -> tuple[Entry, ...]:
    return tuple(Entry(name, scenario, how) for name in names for how, scenario in scenarios.items())


PLAIN_JOB = Job(
    "plain", "small GETs over 32 kept connections", "cpu_us", _all(Scenario(), "gateway", "uncompiled", "bare", *PEERS),
    run, wrk=False,
)
TLS_JOB = Job(
    "tls", "the same over TLS 1.3, connections kept", "cpu_us",
    _all(Scenario(tls=True), "gateway", "bare", *PEERS), run,
)
POLICIES = Job(
    "policies", "a rate limit by address in memory, and a field set in each direction", "cpu_us",
    (Entry("gateway", how="no policies"), *_all(Scenario(policies=True), "gateway", *PEERS)), run,
)
LIMITS = Job(
    "limits", "a rate limit by address that is never reached, counted in memory and in Redis", "cpu_us",
    (*_each(("gateway",), {
        "no limit": Scenario(), "memory": Scenario(limit="memory"), "Redis": Scenario(limit="redis"),
    }), Entry("envoy", Scenario(limit="memory"))), run_limits,
)
ROUTES = Job(
    "routes", "requests for all of 10 and of 10,000 routes", "cpu_us",
    _each(("gateway", "envoy", "nginx", "haproxy"), {
        "10 routes": Scenario(routes=10), "10,000 routes": Scenario(routes=10_000),
    }), run,
)
WORKERS = Job(
    "workers", "one worker and two", "cpu_us",
    _each(("gateway", "envoy", "nginx", "haproxy"), {
        "1 worker": Scenario(), "2 workers": Scenario(workers=2),
    }), run,
)
