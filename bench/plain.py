"""The plain benchmark alone: what one small proxied request costs us, the bare trial, Envoy and nginx, side by side.

python -m bench.plain [--rounds N] [--seconds S] [--only NAMES] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.jobs.loads import PLAIN_JOB
from bench.means import Means
from bench.suite import record, run

NAMES = ("gateway", "uncompiled", "bare", "envoy", "nginx")


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [entry.proxy for entry in PLAIN_JOB.entries]
    parser = argparse.ArgumentParser(prog="python -m bench.plain", description="Cost of one small proxied request.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each proxy is measured (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for how long each time (4; wrk takes whole ones)")
    parser.add_argument("--only", default=",".join(NAMES), help=f"which, of {','.join(names)}")
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
    means = Means(arguments.rounds, arguments.seconds, frozenset(arguments.only))
    try:
        found = run([PLAIN_JOB], means)
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record(found), indent=1) + "\n")
    sys.exit(1 if means.broken else 0)


if __name__ == "__main__":
    main()
