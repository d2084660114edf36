"""A worker whose Redis is away for a minute, in each way there is: does anything of that stay? See docs/state.md.

python tests/state/cut_off.py [--seconds 60]; exit status 1 where memory or descriptors grew, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "faults"), str(HERE.parent / "loopback"), str(HERE.parents[1])]

CALLERS, KEYS, LIMIT = 8, 1000, 3
# By path, what may be answered while the state is away.
EXPECTED = {"/local": {200, 429}, "/open": {200}, "/closed": {503}, "/places": {200}, "/quota": {200, 429}}
NORMAL = {200, 429}
# Between two turns of a caller, so that another program may run beside.
PAUSE = 0.01
SETTLING = 10.0
LOOK_SECONDS = 1.0
MOST_MIB, MOST_DESCRIPTORS = 1.0, 2
BACK_WITHIN = 10.0


def main() -> None:
    parser = argparse.ArgumentParser("cut_off", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long, in each way (60)")
    seconds = parser.parse_args().seconds
    if seconds < 3.0 * LOOK_SECONDS:
        parser.error("three seconds or more")

    from apigateway.transport.reactor import install

    install()
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    found: list[list[str]] = []

    def begin() -> None:
        running = ensureDeferred(all_ways(seconds))
        running.addCallbacks(found.append, lambda failure: failure.printTraceback(sys.stderr))
        running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]

    reactor.callWhenRunning(begin)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    sys.exit("\n".join(found[0]) or 0 if found else 1)


async def all_ways(seconds: float) -> list[str]:
    """Prints a line of each way; what was wrong."""
    from fault_proxy import FaultProxy
    from redis_server import RedisServer
    from toolkit.program import Programs
    from toolkit.waiting import turn

    print(f"{'way':14}{'answers':>10}{'MiB then':>10}{'MiB after':>11}{'descriptors':>13}{'at most':>9}", flush=True)
    faults = []
    with RedisServer() as server, Programs() as programs, tempfile.TemporaryDirectory() as folder:
        proxy = FaultProxy(server.address)
        program = programs.gateway(Path(folder) / "gateway", lambda _: configuration(proxy.port))
        with Callers(program.address) as callers:
            await callers.until_counted()
            # Once before it counts: every counter that this worker makes for itself is there afterwards.
            refused(proxy)
            await turn(min(SETTLING, seconds))
            mend(proxy)
            await callers.until_counted()
            for way, breaks in WAYS.items():
                seen = Seen(program)
                breaks(proxy)
                callers.away()
                await seen.during(seconds)
                faults += [f"{way}: {fault}" for fault in (*callers.wrong(), *seen.faults())]
                mend(proxy)
                await callers.until_counted()
                print(f"{way:14}{callers.answers:10,}{seen}", flush=True)
        await proxy.close()
    return faults


def configuration(port: int) -> dict[str, Any]:
    """A route for each way to go on with a limit, and for places and quotas."""
    given = {"by": "header:X-Key", "tell_store_failure": True}
    limit = {**given, "limit": LIMIT, "per": "1h"}
    flows = {
        **{mode: ("rate-limit", {**limit, "on_store_failure": mode}) for mode in ("local", "open", "closed")},
        "places": ("concurrency-limit", {**given, "limit": CALLERS, "on_store_failure": "local"}),
        "quota": ("quota", {**given, "limit": LIMIT, "per": "day", "on_store_failure": "local"}),
    }
    routes = [
        {"name": name, "match": {"path": f"/{name}"}, "pre_flow": {"request": [
            {"policy": policy, "with": settings}, {"policy": "mock", "with": {"status": 200}},
        ]}}
        for name, (policy, settings) in flows.items()
    ]
    return {"state": f"redis://127.0.0.1:{port}", "apis": [{"name": "all", "routes": routes}]}


def refused(proxy: Any) -> None:
    proxy.accept("refuse")
    proxy.reset()


def mute(proxy: Any) -> None:
    proxy.down.hole = True


def partitioned(proxy: Any) -> None:
    proxy.accept("silence")
    proxy.up.hole = proxy.down.hole = True


WAYS: dict[str, Callable[[Any], None]] = {"refused": refused, "mute": mute, "partitioned": partitioned}


def mend(proxy: Any) -> None:
    """As if nothing had been."""
    proxy.up.hole = proxy.down.hole = False
    proxy.accept("pass")
    proxy.reset()


class Callers:
    """Who ask all the time, each on a connection of his own: every path for a thousand keys."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.answers = 0
        self._address = address
        self._said: Counter[tuple[str, int, str | None]] = Counter()
        self._over = Event()
        self._threads = [Thread(target=self._ask, args=(number,), daemon=True) for number in range(CALLERS)]

    def __enter__(self) -> Callers:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._threads:
            one.join(BACK_WITHIN)

    def away(self) -> None:
        """From now on the state is."""
        self._said.clear()
        self.answers = 0

    def wrong(self) -> list[str]:
        """What was answered that should not be."""
        self.answers = self._said.total()
        found = []
        for (path, status, told), number in dict(self._said).items():
            # What the state was asked before it was away.
            on_its_way = status in NORMAL and number <= CALLERS
            if status not in EXPECTED[path] and not on_its_way:
                found.append(f"{number} times {status} ({told}) of {path}")
        gone = sum(not one.is_alive() for one in self._threads)
        return [*found, *([f"{gone} callers had no answer"] if gone else ())]

    async def until_counted(self) -> None:
        """Until the state answers again. (What `local` let through before goes on counting here for its hour.)"""
        from toolkit.waiting import turn

        end = time.monotonic() + BACK_WITHIN
        while True:
            self._said.clear()
            await turn(0.5)
            said = dict(self._said)
            told = {(path, told) for path, _, told in said if path in ("/open", "/closed", "/places")}
            if told == {("/open", None), ("/closed", None), ("/places", None)}:
                return
            if time.monotonic() > end:
                raise AssertionError(f"the state is not back: {said}")

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=BACK_WITHIN)
        while not self._over.wait(PAUSE):
            for path in EXPECTED:
                number += 1
                connection.request("GET", path, headers={"X-Key": str(number % KEYS)})
                answer = connection.getresponse()
                answer.read()
                told = answer.getheader("x-store-failure")
                self._said[path, answer.status, told or ("closed" if answer.status == 503 else None)] += 1


class Seen:
    """Memory and descriptors of a program, once it had time to settle, and at the end."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self._memory: list[float] = []
        self._descriptors = [self._open()]

    async def during(self, seconds: float) -> None:
        from toolkit.waiting import turn

        settled = min(SETTLING, seconds / 3)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await turn(min(LOOK_SECONDS, left))
            self._descriptors.append(self._open())
            if left < seconds - settled:
                self._memory.append(self._program.resident() / 2**20)

    def faults(self) -> list[str]:
        grown, more = self._memory[-1] - self._memory[0], self._descriptors[-1] - self._descriptors[0]
        return [
            *([f"memory grew by {grown:.1f} MiB"] if grown > MOST_MIB else ()),
            *([f"{more} more descriptors"] if more > MOST_DESCRIPTORS else ()),
        ]

    def __str__(self) -> str:
        return (f"{self._memory[0]:10.1f}{self._memory[-1]:11.1f}"
                f"{self._descriptors[0]:13}{max(self._descriptors):9}")

    def _open(self) -> int:
        return len([*Path(f"/proc/{self._program.process.pid}/fd").iterdir()])


if __name__ == "__main__":
    main()
