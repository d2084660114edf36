"""A TLS connection for each request, by as many threads as there are connections at a time. Prints figures as JSON.

python -m bench.handshakes PORT full|resumed CONNECTIONS SECONDS

`resumed`: each thread offers the session of its connection before. `resumed` in the figures counts those that the
server took. (wrk resumes whenever it can, and does not say so.)
"""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import sys
import threading
import time

from bench.job import requests
from bench.place import NAME


class Caller:
    """A thread's connections, one after the other."""

    context = ssl._create_unverified_context()
    asked = itertools.cycle(requests(close=True))

    def __init__(self, port: int, resume: bool) -> None:
        self._port, self._resume = port, resume
        self._session: ssl.SSLSession | None = None
        self.took: list[float] = []
        self.resumed = 0
        self.wrong: list[str] = []

    def run(self, end: float) -> None:
        """Until then."""
        while time.monotonic() < end and not self.wrong:
            began = time.perf_counter()
            try:
                self._once()
            except OSError as error:
                self.wrong.append(str(error))
            self.took.append(time.perf_counter() - began)

    def _once(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(plain, server_hostname=NAME, session=self._session) as connection:
                connection.sendall(next(self.asked))
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise OSError(f"the answer was {answer[:80]!r}")
                while connection.recv(65536):  # the server closes first, so that ports do not run out here
                    pass
                self.resumed += bool(connection.session_reused)
                if self._resume:
                    self._session = connection.session


def main() -> None:
    port, how, count, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    callers = [Caller(port, how == "resumed") for _ in range(count)]
    began = time.monotonic()
    threads = [threading.Thread(target=caller.run, args=(began + seconds,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - began
    took = sorted(itertools.chain.from_iterable(caller.took for caller in callers))
    print(json.dumps({
        "requests": len(took), "rps": len(took) / passed, "resumed": sum(caller.resumed for caller in callers),
        "p50_ms": took[len(took) // 2] * 1000, "p99_ms": took[len(took) * 99 // 100] * 1000,
        "wrong": [wrong for caller in callers for wrong in caller.wrong],
    }))


if __name__ == "__main__":
    main()
