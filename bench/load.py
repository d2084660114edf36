"""A load generator for where wrk is missing. Prints its figures as JSON.

python -m bench.load PORT CONNECTIONS SECONDS
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

import uvloop
from httptools import HttpResponseParser

from bench.job import requests


class Caller(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again."""

    requests = itertools.cycle(requests())

    def __init__(self, latencies: list[float], bad: list[int]) -> None:
        self.latencies = latencies
        self.bad = bad
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = HttpResponseParser(self)
        self._ask()

    def _ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(next(self.requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.latencies.append(time.perf_counter() - self.began)
        if self.parser.get_status_code() != 200:
            self.bad.append(self.parser.get_status_code())
        if not self.over:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over:
            self.bad.append(0)


async def run(port: int, connections: int, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    bad: list[int] = []
    made = [
        await loop.create_connection(lambda: Caller(latencies, bad), "127.0.0.1", port) for _ in range(connections)
    ]
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    for transport, caller in made:
        caller.over = True
        transport.abort()
    latencies.sort()
    count = len(latencies)
    return {
        "requests": count, "rps": count / took, "bad": len(bad),
        "p50_ms": latencies[count // 2] * 1000 if count else 0.0,
        "p99_ms": latencies[count * 99 // 100] * 1000 if count else 0.0,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
