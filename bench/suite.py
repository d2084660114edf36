"""All jobs, one after the other; the tables, the budgets, and what is written of them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import table
from bench.chart import Chart, svg
from bench.figures import KINDS, OURS, Budget, Rows, Sample, Verdict, judge, medians
from bench.jobs.bodies import BODIES
from bench.jobs.crowded import CROWD
from bench.jobs.handshakes import HANDSHAKES
from bench.jobs.idle import IDLE
from bench.jobs.loads import LIMITS, PLAIN_JOB, POLICIES, ROUTES, TLS_JOB, WORKERS
from bench.jobs.matches import MATCH
from bench.jobs.reload import RELOAD
from bench.loading import has_wrk, tool
from bench.means import Job, Means
from bench.peers.envoy import envoy_program
from bench.peers.express import express_version
from bench.peers.gateway import compiled_python
from bench.place import program
from bench.proxies import PROXIES

JOBS = {job.name: job for job in (
    PLAIN_JOB, TLS_JOB, HANDSHAKES, POLICIES, LIMITS, BODIES, IDLE, CROWD, MATCH, ROUTES, RELOAD, WORKERS,
)}

BUDGETS = (
    Budget("plain, by Envoy", "plain", OURS, "cpu_us", 0.7, "envoy"),
    Budget("plain, by the bare trial", "plain", OURS, "cpu_us", 2.2, "bare"),
    Budget("plain, by nginx (a goal)", "plain", OURS, "cpu_us", 1.8, "nginx"),
    Budget("TLS, by Envoy", "tls", OURS, "cpu_us", 0.75, "envoy"),
    Budget("policies, by ours without", "policies", OURS, "cpu_us", 1.35, f"{OURS}, no policies"),
    Budget("policies, by Envoy", "policies", OURS, "cpu_us", 0.5, "envoy"),
    Budget("limit in memory, by ours without", "limits", f"{OURS}, memory", "cpu_us", 1.35, f"{OURS}, no limit"),
    Budget("limit in Redis, by ours without", "limits", f"{OURS}, Redis", "cpu_us", 1.7, f"{OURS}, no limit"),
    Budget("limit in memory, by Envoy", "limits", f"{OURS}, memory", "cpu_us", 0.7, "envoy"),
    *(
        Budget(f"{size} {way}, by nginx", "bodies", f"{OURS}, {size} {way}", "cpu_us_per_mib", 1.5,
               f"nginx, {size} {way}")
        for size in ("1 MiB", "100 MiB") for way in ("down", "up")
    ),
    *(
        Budget(f"100 MiB {way}: memory stays, MiB", "bodies", f"{OURS}, 100 MiB {way}", "grown_mib", 10.0)
        for way in ("down", "up")
    ),
    Budget("idle plain connection, KiB", "idle", f"{OURS}, plain", "kib", 12.0),
    Budget("idle TLS connection, KiB", "idle", f"{OURS}, TLS", "kib", 40.0),
    Budget("p99 in the crowd, times", "crowd", OURS, "times", 2.0),
    Budget("a match of 10,000 routes, by one of 10", "match", f"{OURS}, 10,000 routes, ten asked for", "match_us", 1.5,
           f"{OURS}, 10 routes"),
    Budget("reload of 1,000 Apis: failed requests", "reload", OURS, "failed", 0.0),
    Budget("reload of 1,000 Apis: longest answer, ms", "reload", OURS, "pause_ms", 20.0),
    # "The same": what is within the spread of such runs.
    Budget("2 workers, by 1", "workers", f"{OURS}, 2 workers", "cpu_us", 1.1, f"{OURS}, 1 worker"),
)


@dataclass(slots=True)
class Found:
    """What came of a run. rows: per job, per label, the medians."""

    means: Means
    samples: list[Sample] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        return judge(BUDGETS, self.rows)


def run(jobs: Iterable[Job], means: Means) -> Found:
    """Measure, and print each job's table when it is there. A job that fails is noted, and the others are run."""
    found = Found(means)
    for job in jobs:
        if job.wrk and not has_wrk():
            means.missing[job.name] = "it needs wrk: apt install wrk"
            continue
        try:
            found.samples.extend(job.run(job, means))
        except Exception as error:  # whatever one job meets, the others' figures are worth having
            means.broken[job.name] = f"{type(error).__name__}: {error}"
        found.rows[job.name] = medians(found.samples, job.name, job.main)
        if found.rows[job.name]:
            print("\n".join(["", f"{job.name}: {job.about}", "", *of(job, found)]), flush=True)
    print("\n".join(["", *table.of_budgets(found.verdicts), *left_out(means)]), flush=True)
    return found


def of(job: Job, found: Found) -> list[str]:
    """The table of a job."""
    rows = found.rows[job.name]
    about = {label: PROXIES[label.partition(", ")[0]].about for label in rows}
    return table.of_job(rows, job.main, about)


def left_out(means: Means) -> list[str]:
    """Who is not in the tables, and why."""
    lines = [f"{name} was left out: {why}" for name, why in means.missing.items()]
    return lines + [f"{name} FAILED: {why}" for name, why in means.broken.items()]


def machine() -> dict[str, Any]:
    """What all this ran on."""
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    installed = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": processor[1] if processor else platform.machine(), "processors": os.cpu_count(),
        "memory_mib": int(installed[1]) // 1024 if installed else 0, "kernel": platform.release(),
        "python": platform.python_version(), "load": tool(), "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of whoever is there."""
    commands = {
        "nginx": (program("nginx"), "-v"), "HAProxy": (program("haproxy"), "-v"),
        "Envoy": (envoy_program(), "--version"), "Caddy": (program("caddy"), "version"),
        "Node.js": (program("node"), "--version"),
        "the gateway's Python": (compiled_python(), "--version"),
    }
    said = {name: _version(found, option) for name, (found, option) in commands.items() if found is not None}
    express = express_version()
    return said if express is None else {**said, "Express Gateway": express}


def _version(found: str, option: str) -> str:
    """The first number of three parts that it prints."""
    done = subprocess.run([found, option], capture_output=True, text=True, timeout=20, check=False)
    number = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return number[0] if number else "unknown"


def record(found: Found) -> dict[str, Any]:
    """All of it, as it is written to JSON."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
        "rounds": found.means.rounds, "seconds": found.means.seconds, "figures": found.rows,
        "budgets": [{**asdict(each.budget), "is": each.value, "met": each.met} for each in found.verdicts],
        "missing": found.means.missing, "broken": found.means.broken,
        "samples": [asdict(each) for each in found.samples],
    }


def page(found: Found, name: str) -> list[str]:
    """A page of the documentation: the machine, the budgets, the tables."""
    on = machine()
    lines = [
        f"# Benchmark of {name}", "",
        f"{on['processors']} processors ({on['processor']}), {on['memory_mib']} MiB, Linux "
        f"{on['kernel']}. Load by {on['load'].partition(' ')[0]}; {found.means.rounds} rounds of "
        f"{found.means.seconds:g} s, medians. "
        + ", ".join(f"{who} {version}" for who, version in on["versions"].items())
        + f". All figures: `{name}.json`.", "",
        f"![Bars of the main figure of each job]({name}.svg)", "",
        "## Budgets", "", *table.of_budgets(found.verdicts), "",
    ]
    for job_name in found.rows:
        job = JOBS[job_name]
        lines += [f"## {job.name}", "", f"{job.about[0].upper()}{job.about[1:]}.", "", *of(job, found), ""]
    out = left_out(found.means)
    return lines + (["## Left out", "", *(f"- {line}" for line in out), ""] if out else [])


def charts(found: Found) -> Sequence[Chart]:
    """A chart of each job's main figure."""
    return [
        Chart(
            f"{name}: {KINDS[JOBS[name].main].title}",
            [(label, row[JOBS[name].main], label.partition(", ")[0] == OURS) for label, row in rows.items()],
            KINDS[JOBS[name].main].form,
        )
        for name, rows in found.rows.items()
    ]


def write(found: Found, folder: Path, name: str) -> None:
    """NAME.json, NAME.svg and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record(found), indent=1) + "\n")
    (folder / f"{name}.svg").write_text(svg(charts(found)))
    (folder / f"{name}.md").write_text("\n".join(page(found, name)).rstrip() + "\n")
