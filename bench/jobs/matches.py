"""The cost of a match by itself: bench.matching, in the interpreter of the compiled build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Sample
from bench.loading import BadAnswers
from bench.means import Entry, Job, Means, processes
from bench.peers.gateway import compiled_python
from bench.processes import ROOT
from bench.scenario import Scenario

HOW = {"10": "10 routes", "10000:10": "10,000 routes, ten asked for", "10000": "10,000 routes, all asked for"}
SECONDS = 300.0


def measure(job: str, entry: str, interpreter: str, path: Path) -> Iterator[Sample]:
    """All in one process. path: where it finds the benchmarks. BadAnswers."""
    done = subprocess.run(
        [interpreter, "-P", "-m", "bench.matching", *HOW], capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(path)},
    )
    if done.returncode:
        raise BadAnswers(f"bench.matching failed: {done.stderr[-400:]}")
    for routes, cost in json.loads(done.stdout).items():
        yield Sample(job, f"{entry}, {HOW[routes]}", {"match_us": cost})


def run(job: Job, means: Means) -> Iterator[Sample]:
    """Of the compiled build, and of the plain sources. BadAnswers."""
    names = {entry.proxy for entry in means.entries(job)}
    interpreter = compiled_python()
    progress = means.progress(job, len(names) * means.rounds)
    with processes() as started:
        # Not the sources beside bench/: a folder with nothing but the benchmarks, for the compiled build.
        shutil.copytree(ROOT / "bench", started.folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
        for _ in range(means.rounds):
            if "gateway" in names and interpreter is not None:
                progress.step("gateway")
                yield from measure(job.name, "gateway", interpreter, started.folder)
            if "uncompiled" in names:
                progress.step("uncompiled")
                yield from measure(job.name, "uncompiled", sys.executable, ROOT)
    progress.end()


MATCH = Job(
    "match", "finding the route, in process", "match_us",
    tuple(Entry(name, Scenario(routes=int(routes.partition(":")[0])), how) for name in ("gateway", "uncompiled")
          for routes, how in HOW.items()), run, wrk=False,
)
