"""Asks a proxy every millisecond over one connection, and keeps the longest answers: a pause of its worker is seen.

python -m bench.prober PORT

Says `ready`, and leaves when standard input ends, with its figures as JSON. What is timed is an answer, from sending
to reading, so that a prober that is itself late counts in part only.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import sys
import time

from bench.job import BODY, requests

INTERVAL_SECONDS = 0.001
END = BODY.encode()


def main() -> None:
    took: list[float] = []
    failed = 0
    asked = itertools.cycle(requests())
    connection = _connect()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], INTERVAL_SECONDS)[0]:
        began = time.perf_counter()
        try:
            if not _answered(connection, next(asked)):
                raise OSError("no answer, or no 200")
            took.append(time.perf_counter() - began)
        except OSError:
            failed += 1
            connection.close()
            connection = _connect()
    took.sort()
    print(json.dumps({
        "requests": len(took), "failed": failed, "longest_ms": took[-1] * 1000 if took else 0.0,
        "p99_ms": took[len(took) * 99 // 100] * 1000 if took else 0.0,
    }), flush=True)


def _connect() -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)


def _answered(connection: socket.socket, request: bytes) -> bool:
    connection.sendall(request)
    answer = b""
    while not answer.endswith(END):
        more = connection.recv(65536)
        if not more:
            return False
        answer += more
    return answer.startswith(b"HTTP/1.1 200 ")


if __name__ == "__main__":
    main()
