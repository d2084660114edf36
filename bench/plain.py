"""The plain benchmark: what one small proxied request costs us, the bare trial, Envoy and nginx, side by side.

python -m bench.plain [--rounds N] [--seconds S] [--only NAMES] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.job import CONNECTIONS, REQUESTS
from bench.loading import BadAnswers, Load, put_load, tool
from bench.processes import NotStarted, Processes, cpu_seconds
from bench.proxies import PROXIES, Missing, Running, start_backend, start_proxy

# The gateway's budget: at most so many times this peer.
BUDGETS = {"bare": 2.2, "envoy": 1.0}
WARM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """One proxy under load, once. cpu_us: microseconds of its processor time per request."""

    proxy: str
    cpu_us: float
    load: Load


def measure(running: Running, seconds: float) -> Run:
    """One run. BadAnswers."""
    before = cpu_seconds(running.pid)
    load = put_load(running.place.port, seconds, running.place.folder)
    spent = cpu_seconds(running.pid) - before
    running.forget_log()
    return Run(running.proxy.name, spent / load.requests * 1e6, load)


def alternate(proxies: Sequence[Running], rounds: int, seconds: float) -> Iterator[Run]:
    """Every proxy in every round, each round begun by another, so that what drifts meets all of them."""
    for one in proxies:
        say(f"warming {one.proxy.name}")
        measure(one, WARM_SECONDS)
    for number in range(rounds):
        turn = number % len(proxies)
        for one in [*proxies[turn:], *proxies[:turn]]:
            say(f"round {number + 1} of {rounds}: {one.proxy.name}")
            yield measure(one, seconds)
    say("")


def medians(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Per proxy: medians of its runs, and how far its dearest and cheapest lie apart (`spread`, of the median)."""
    found = {}
    for name in dict.fromkeys(run.proxy for run in runs):
        own = [run for run in runs if run.proxy == name]
        costs = [run.cpu_us for run in own]
        found[name] = {
            "cpu_us": median(costs), "spread": (max(costs) - min(costs)) / median(costs),
            "rps": median(run.load.rps for run in own), "p50_ms": median(run.load.p50_ms for run in own),
            "p99_ms": median(run.load.p99_ms for run in own),
        }
    return found


def ratios(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The gateway's processor time by that of each peer."""
    own = figures.get("gateway")
    return {} if own is None else {
        name: own["cpu_us"] / each["cpu_us"] for name, each in figures.items() if name != "gateway"
    }


def table(figures: dict[str, dict[str, float]], missing: dict[str, str]) -> list[str]:
    """What is printed at the end."""
    lines = [f"{'':10}{'CPU us/request':>15}{'spread':>8}{'requests/s':>12}{'p50 ms':>8}{'p99 ms':>8}"]
    about = {proxy.name: proxy.about for proxy in PROXIES}
    lines += [
        f"{name:10}{one['cpu_us']:15.1f}{one['spread']:8.0%}{one['rps']:12.0f}{one['p50_ms']:8.2f}{one['p99_ms']:8.2f}"
        f"  {about[name]}"
        for name, one in figures.items()
    ]
    for name, ratio in ratios(figures).items():
        budget = BUDGETS.get(name)
        verdict = "" if budget is None else f"  budget {budget:.2f}: {'kept' if ratio <= budget else 'BROKEN'}"
        lines.append(f"gateway / {name:8} {ratio:5.2f}{verdict}")
    return lines + [f"{name} was left out: {why}" for name, why in missing.items()]


def say(text: str) -> None:
    """What is being done, on one line that is written over; a line each where nobody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it; the figures as they are written to JSON."""
    chosen = [proxy for proxy in PROXIES if proxy.name in arguments.only]
    missing: dict[str, str] = {}
    started: list[Running] = []
    with Processes(folder) as processes:
        backends, backend = start_backend(processes)
        print(f"backend: {backend}; load: {tool()}; {CONNECTIONS} connections, {REQUESTS} different requests")
        for proxy in chosen:
            try:
                started.append(start_proxy(processes, proxy, backends))
            except Missing as error:
                missing[proxy.name] = str(error)
        runs = list(alternate(started, arguments.rounds, arguments.seconds)) if started else []
    figures = medians(runs)
    print("\n".join(table(figures, missing)))
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": platform.platform(),
        "python": platform.python_version(), "backend": backend, "load": tool(), "connections": CONNECTIONS,
        "rounds": arguments.rounds, "seconds": arguments.seconds, "figures": figures,
        "gateway_by": ratios(figures), "missing": missing, "runs": [asdict(each) for each in runs],
    }


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [proxy.name for proxy in PROXIES]
    parser = argparse.ArgumentParser(prog="python -m bench.plain", description="Cost of one small proxied request.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each proxy is measured (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for how long each time (4; wrk takes whole ones)")
    parser.add_argument("--only", default=",".join(names), help=f"which, of {','.join(names)}")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args(given)
    arguments.only = arguments.only.split(",")
    unknown = set(arguments.only) - set(names)
    if unknown or not 1 <= arguments.rounds <= 100 or not 0.5 <= arguments.seconds <= 60:
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else "1 to 100 rounds of 0.5 to 60 seconds")
    return arguments


def main() -> None:
    """Run it. Exit status 1 where a proxy that is there cannot be measured."""
    arguments = parse()
    if not Path("/proc/self/stat").exists():
        sys.exit("processor time is read from /proc: this benchmark runs on Linux")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            figures = run(arguments, Path(folder))
        except (NotStarted, BadAnswers, AssertionError) as error:
            sys.exit(f"\n{error}")
        except KeyboardInterrupt:
            sys.exit(130)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
