"""`make fuzz`: every target for its share of the time; what is found is written to a file, and is an error.

python tests/fuzz [--minutes 10] [--first N] [TARGET...]; python tests/fuzz --again FILE tries a finding once more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

from fuzzing.all import TARGETS
from fuzzing.target import Target, tried
from fuzzing.watched import Report, fuzz


def main() -> int:
    asked = _arguments()
    if asked.again:
        return again(asked.again)
    targets = [one for one in TARGETS if not asked.targets or any(word in one.name for word in asked.targets)]
    share = asked.minutes * 60 / max(1, len(targets))
    print(f"{len(targets)} targets, {share:.0f} s each; --first {asked.first} tries the same inputs again")
    print(f"{'target':26}{'inputs':>10}{'slowest':>12}{'findings':>10}")
    reports = []
    for target in targets:
        print(f"{target.name:26}", end="", flush=True)
        reports.append((target, fuzz(target, seconds=share, first=asked.first)))
        print_line(*reports[-1], asked.findings)
    print(f"{'all':26}{sum(report.inputs for _, report in reports):>10}")
    return 1 if any(report.finding is not None for _, report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("fuzz", description="Hostile input for every parser of ours.")
    parser.add_argument("targets", nargs="*", help="words of names; all, where none is given")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--first", type=int, default=int.from_bytes(os.urandom(4)), help="where to begin")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="the folder for what is found")
    parser.add_argument("--again", type=Path, help="a file of a finding")
    return parser.parse_args()


def print_line(target: Target, report: Report, folder: Path) -> None:
    print(f"{report.inputs:>10}{report.slowest * 1000:>9.1f} ms{int(report.finding is not None):>10}", flush=True)
    if report.finding is not None:
        folder.mkdir(exist_ok=True)
        file = folder / f"{slug(target)}-{hashlib.sha256(report.finding).hexdigest()[:12]}"
        file.write_bytes(report.finding)
        print(f"{file}, {len(report.finding)} octets:\n{report.trouble[:4000]}", flush=True)


def slug(target: Target) -> str:
    return target.name.replace(",", "").replace(" ", "-")


def again(file: Path) -> int:
    """Raises what the finding raises."""
    target = next(one for one in TARGETS if file.name.rpartition("-")[0] == slug(one))
    print(f"{target.name}: fine, {tried(target, file.read_bytes()) * 1000:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
