"""Putting the job on a proxy, by wrk or, the plain one, by our own load generator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.job import CONNECTIONS, requests
from bench.place import Place
from bench.processes import ROOT, python

_SCRIPT = ROOT / "bench" / "peers" / "job.lua"

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class BadAnswers(Exception):
    """Not every answer was the right one: the figures would say nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were answered, per second, and milliseconds that half and 99 % of them took at most.

    failed: answers that were no 2xx, and connections that were lost; why, as wrk says it.
    """

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    failed: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the load is put on. wait: milliseconds between the requests of a connection, on average."""

    connections: int = CONNECTIONS
    wait: float = 0.0


FULL = Pace()


def has_wrk() -> bool:
    """Whether wrk is there, which speaks TLS, waits, and sends whatever it is given."""
    return shutil.which("wrk") is not None


def tool() -> str:
    """What makes the load here."""
    return "wrk" if has_wrk() else "bench.load (wrk is not on PATH)"


def put_load(place: Place, seconds: float, pace: Pace = FULL, asked: Sequence[bytes] = ()) -> Load:
    """The job, for so long; `asked` instead of its requests. BadAnswers: whoever fails, fails the benchmark."""
    load = put_any_load(place, seconds, pace, asked)
    if load.failed or not load.requests:
        raise BadAnswers(f"{place.name}: {load.why or 'no request was answered'}")
    return load


def put_any_load(place: Place, seconds: float, pace: Pace = FULL, asked: Sequence[bytes] = ()) -> Load:
    """The same, whatever is answered."""
    if has_wrk():
        return parse(_run(_wrk(place, seconds, pace, _written(place, asked)), seconds))
    figures = json.loads(_run(python("bench.load", place.port, pace.connections, seconds), seconds))
    return Load(failed=figures.pop("bad"), why="answers were missing, or were no 200", **figures)


def _written(place: Place, asked: Sequence[bytes]) -> Path:
    """The requests in a file, each behind its length."""
    path = place.folder / f"{place.stem}-requests{'-own' if asked else ''}"
    if not path.exists():
        path.write_bytes(b"".join(
            b"%d %b" % (len(each), each) for each in asked or requests(place.scenario)
        ))
    return path


def _run(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise BadAnswers(f"the load generator failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def _wrk(place: Place, seconds: float, pace: Pace, written: Path) -> list[str]:
    duration = f"-d{max(1, round(seconds))}s"  # it takes whole seconds only
    scheme = "https" if place.scenario.tls else "http"
    wait = [str(pace.wait)] if pace.wait else []
    return [
        "wrk", "-t1", f"-c{pace.connections}", duration, "--latency", "-s", str(_SCRIPT),
        f"{scheme}://127.0.0.1:{place.port}", "--", str(written), *wait,
    ]


def parse(text: str) -> Load:
    """What wrk prints. BadAnswers: something unexpected."""
    wrong = re.findall(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)", text)
    failed = sum(int(number) for each in wrong for number in re.findall(r"\d+", each.partition(":")[2]))
    return Load(
        int(_found(r"(\d+) requests in", text)), float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        _latency("50", text), _latency("99", text), failed, "; ".join(wrong),
    )


def _latency(percent: str, text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", _found(rf"^\s+{percent}%\s+(\S+)", text)).groups()  # type: ignore[union-attr]
    return float(number) * _MILLISECONDS[unit]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise BadAnswers(f"wrk said something unexpected: {text[-400:]}")
    return match[1]
