"""A soak: the gateway for a long time at a part of what it can, with bad clients, bad upstreams, and reloads.

python -m bench.soak [--minutes M] [--part P] [--workers N] [--out FOLDER] [--name NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.companion import companion
from bench.job import requests
from bench.loading import BadAnswers, Load, Pace, has_wrk, put_any_load, put_load
from bench.means import processes
from bench.peers.gateway import compiled_python, configuration
from bench.place import Place, program
from bench.processes import (
    ROOT,
    NotStarted,
    Processes,
    descriptors,
    family,
    free_ports,
    python,
    raise_limit,
    resident,
)
from bench.progress import Progress
from bench.proxies import see_answer, start_backend, start_bulk
from bench.scenario import Scenario
from bench.steadiness import Look, judge_all
from bench.suite import machine

CONNECTIONS = 64
UNRULY = 20
LOOK_SECONDS = 5.0
RELOAD_SECONDS = 60.0
PIECE_SECONDS = 20.0
FIND_SECONDS = 5.0


@dataclass(slots=True)
class Soak:
    """What is soaked, and what is seen of it."""

    place: Place
    pid: int
    bulk: tuple[int, int]
    seconds: float
    target: float
    seen: dict[int, list[Look]] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    reloads: int = 0

    def load(self, end: float) -> None:
        """Pieces of load until then, the wait corrected after each, so that the rate is the one that is wanted."""
        wait = CONNECTIONS / self.target * 1000
        while (left := end - time.monotonic()) > 1.0:
            load = put_any_load(self.place, min(PIECE_SECONDS, left), Pace(CONNECTIONS, wait), ASKED)
            self.loads.append(load)
            wait = max(0.01, wait + (CONNECTIONS / self.target - CONNECTIONS / max(1.0, load.rps)) * 1000)

    def look(self, at: float) -> None:
        """Memory and descriptors of all of its processes; the access log is emptied, it would fill the disk."""
        for pid in family(self.pid):
            with suppress(OSError):
                self.seen.setdefault(pid, []).append(Look(at, resident(pid), descriptors(pid)))
        os.truncate(self.place.log, 0)

    def reload(self) -> None:
        """Something new, and the signal."""
        self.reloads += 1
        configured(self.place, self.bulk, f"edition {self.reloads}")
        os.kill(self.pid, signal.SIGHUP)


def configured(place: Place, bulk: tuple[int, int], edition: str) -> str:
    """The job's configuration with policies, and an Api of large bodies behind an upstream that breaks off."""
    scenario = Scenario(policies=True, bodies=True, workers=place.scenario.workers, count_as=edition)
    text = configuration(place.port, place.backends, str(place.log), scenario)
    targets = ", ".join(f'{{url: "http://127.0.0.1:{port}"}}' for port in bulk)
    upstream = f"upstreams:\n  - name: bulk\n    targets: [{targets}]\n"
    api = "apis:\n  - name: bulk\n    base_path: /bulk\n    routes: [{name: all, upstream: bulk}]\n"
    return place.kept("gateway.yaml", text.replace("upstreams:\n", upstream, 1).replace("apis:\n", api, 1))


def mixed() -> list[bytes]:
    """The job's requests; one of five sends a body of up to 8 KiB."""
    chance = random.Random(7)
    return [_with_body(each, chance) if chance.random() < 0.2 else each for each in requests()]


def _with_body(request: bytes, chance: random.Random) -> bytes:
    body = b'{"note":"%b"}' % (b"x" * chance.randrange(8192))
    head = request.replace(b"GET ", b"POST ", 1)[:-2]
    return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


ASKED = mixed()


def start(started: Processes, workers: int) -> tuple[Place, int, tuple[int, int]]:
    """(where, its process, the ports of its second backend). NotStarted."""
    backends, _ = start_backend(started)
    bulk = start_bulk(started)
    place = Place("gateway", free_ports(1)[0], backends, started.folder, Scenario(workers=workers))
    interpreter = compiled_python()
    command = [interpreter, "-P", "-m", "apigateway.cli"] if interpreter else python("apigateway.cli")
    pid = started.start("gateway", [*command, "run", configured(place, bulk, "edition 0")], (place.port,))
    see_answer(place)
    return place, pid, bulk


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it; the record. NotStarted, BadAnswers."""
    with processes() as started:
        place, pid, bulk = start(started, arguments.workers)
        with companion("bench.unruly", place.port, UNRULY) as unruly:
            most = put_load(place, FIND_SECONDS, Pace(CONNECTIONS), ASKED).rps
            soak = Soak(place, pid, bulk, arguments.minutes * 60, most * arguments.part)
            print(f"at most {most:.0f} requests/s; {arguments.minutes:g} minutes at {soak.target:.0f}", flush=True)
            _soak(soak)
    return record(soak, most, unruly.seen, arguments)


def _soak(soak: Soak) -> None:
    began = time.monotonic()
    loading = threading.Thread(target=soak.load, args=(began + soak.seconds,))
    loading.start()
    step = min(LOOK_SECONDS, soak.seconds / 40)
    reload_every = min(RELOAD_SECONDS, soak.seconds / 6)
    progress = Progress("soak", int(soak.seconds / step))
    while (at := time.monotonic() - began) < soak.seconds:
        soak.look(at)
        if at >= (soak.reloads + 1) * reload_every:
            soak.reload()
        progress.step(f"{len(soak.seen)} processes, {soak.reloads} reloads")
        time.sleep(step)
    loading.join()
    soak.look(soak.seconds)
    progress.end()


def record(soak: Soak, most: float, unruly: dict[str, int], arguments: argparse.Namespace) -> dict[str, Any]:
    """What is written to JSON. wrong: why it was no good; empty where all is well."""
    steady, wrong = judge_all(soak.seen, soak.seconds)
    failed = sum(load.failed for load in soak.loads)
    if failed:
        why = Counter(load.why for load in soak.loads if load.why)
        wrong.append(f"{failed} requests failed: {'; '.join(why)}")
    wrong += [f"{count} times {what}" for what, count in unruly.items() if what in ("ask: closed", "ask: no end")]
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
        "minutes": arguments.minutes, "workers": arguments.workers, "compiled": compiled_python() is not None,
        "most_rps": most, "rps": sum(load.requests for load in soak.loads) / soak.seconds,
        "requests": sum(load.requests for load in soak.loads), "failed": failed, "reloads": soak.reloads,
        "unruly": unruly, "wrong": wrong, "processes": {pid: asdict(one) for pid, one in steady.items()},
        "loads": [asdict(load) for load in soak.loads],
        "looks": {pid: [asdict(look) for look in looks] for pid, looks in soak.seen.items()},
    }


def summary(found: dict[str, Any]) -> list[str]:
    """What is printed at the end."""
    lines = [
        f"{found['requests']} requests, {found['rps']:.0f}/s, {found['failed']} failed; {found['reloads']} reloads; "
        f"beside them {sum(found['unruly'].values())} bad clients",
        *(
            f"process {pid}: {one['resident'][0] / 1048576:.1f} -> {one['resident'][1] / 1048576:.1f} MiB "
            f"({one['growth']:+.1%}), descriptors {one['descriptors'][0]:g} -> {one['descriptors'][1]:g}"
            for pid, one in found["processes"].items()
        ),
    ]
    return [*lines, *(["not steady:", *found["wrong"]] if found["wrong"] else ["steady"])]


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="The gateway under load for long.")
    parser.add_argument("--minutes", type=float, default=20.0, help="for how long (20)")
    parser.add_argument("--part", type=float, default=0.7, help="of the load that it can take at most (0.7)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="where the record goes")
    parser.add_argument("--name", default=time.strftime("%Y-%m-%d-soak"), help="of its file (the date, and -soak)")
    arguments = parser.parse_args(given)
    if not (0.5 <= arguments.minutes <= 24 * 60 and 0.05 <= arguments.part <= 1 and 1 <= arguments.workers <= 64):
        parser.error("half a minute to a day, a part of 0.05 to 1, 1 to 64 workers")
    return arguments


def main() -> None:
    """Run it. Exit status 1 where it was not steady."""
    arguments = parse()
    if not has_wrk() or program("nginx") is None:
        sys.exit("a soak needs wrk and nginx: apt install wrk nginx-light")
    raise_limit()
    try:
        found = run(arguments)
    except (NotStarted, BadAnswers) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print("\n".join(summary(found)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {path}")
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
