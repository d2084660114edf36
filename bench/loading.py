"""Putting the job on a port, by wrk or by our own load generator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.job import CONNECTIONS, requests
from bench.processes import ROOT, python

_SCRIPT = ROOT / "bench" / "peers" / "job.lua"

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class BadAnswers(Exception):
    """Not every answer was the right one: the figures would say nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were answered, per second, and milliseconds that half and 99 % of them took at most."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float


def tool() -> str:
    """What makes the load here."""
    return "wrk" if shutil.which("wrk") else "bench.load (wrk is not on PATH)"


def put_load(port: int, seconds: float, folder: Path) -> Load:
    """The job, for so long. folder: for the requests, where wrk reads them. BadAnswers."""
    if shutil.which("wrk"):
        written = folder / "requests"
        if not written.exists():
            written.write_bytes(b"".join(requests()))
        return _parse(_run(_wrk(port, seconds, written), seconds))
    figures = json.loads(_run(python("bench.load", port, CONNECTIONS, seconds), seconds))
    if figures.pop("bad") or not figures["requests"]:
        raise BadAnswers("answers were missing, or were no 200")
    return Load(**figures)


def _run(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise BadAnswers(f"the load generator failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def _wrk(port: int, seconds: float, written: Path) -> list[str]:
    duration = f"-d{max(1, round(seconds))}s"  # it takes whole seconds only
    return [
        "wrk", "-t1", f"-c{CONNECTIONS}", duration, "--latency", "-s", str(_SCRIPT), f"http://127.0.0.1:{port}",
        "--", str(written),
    ]


def _parse(text: str) -> Load:
    """What wrk prints."""
    wrong = re.search(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)", text)
    requests = int(_found(r"(\d+) requests in", text))
    if wrong or not requests:
        raise BadAnswers(wrong[1] if wrong else "no request was answered")
    return Load(requests, float(_found(r"Requests/sec:\s+([\d.]+)", text)), _latency("50", text), _latency("99", text))


def _latency(percent: str, text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", _found(rf"^\s+{percent}%\s+(\S+)", text)).groups()  # type: ignore[union-attr]
    return float(number) * _MILLISECONDS[unit]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise BadAnswers(f"wrk said something unexpected: {text[-400:]}")
    return match[1]
