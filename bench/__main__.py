"""All benchmarks: the gateway beside its peers, job by job.

python -m bench [--jobs NAMES] [--rounds N] [--seconds S] [--only NAMES] [--out FOLDER] [--name NAME]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.means import Means
from bench.processes import ROOT, raise_limit
from bench.proxies import PROXIES
from bench.suite import JOBS, run, write


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The gateway beside its peers, job by job.")
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"which, of {','.join(JOBS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each proxy is measured (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for how long each time (3; wrk takes whole ones)")
    parser.add_argument("--only", default=",".join(PROXIES), help=f"which proxies, of {','.join(PROXIES)}")
    parser.add_argument("--out", type=Path, help="where to write the record (docs/benchmarks; nowhere with --jobs "
                        "or --only, unless named)")
    parser.add_argument("--name", default=time.strftime("%Y-%m-%d"), help="of its files (the date)")
    arguments = parser.parse_args(given)
    if arguments.out is None and {"--jobs", "--only"}.isdisjoint(
        word.partition("=")[0] for word in (sys.argv[1:] if given is None else given)
    ):
        arguments.out = ROOT / "docs" / "benchmarks"
    arguments.jobs, arguments.only = arguments.jobs.split(","), arguments.only.split(",")
    unknown = sorted({*arguments.jobs} - {*JOBS} | {*arguments.only} - {*PROXIES})
    if unknown or not 1 <= arguments.rounds <= 100 or not 0.5 <= arguments.seconds <= 60:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "1 to 100 rounds of 0.5 to 60 seconds")
    return arguments


def main() -> None:
    """Run it. Exit status 1 where something that is there could not be measured."""
    arguments = parse()
    if not Path("/proc/self/stat").exists():
        sys.exit("processor time is read from /proc: this benchmark runs on Linux")
    raise_limit()
    means = Means(arguments.rounds, arguments.seconds, frozenset(arguments.only))
    try:
        found = run([JOBS[name] for name in arguments.jobs], means)
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.out is not None:
        write(found, arguments.out, arguments.name)
        print(f"\nwritten: {arguments.out / arguments.name}.json, .svg and .md")
    sys.exit(1 if means.broken else 0)


if __name__ == "__main__":
    main()
