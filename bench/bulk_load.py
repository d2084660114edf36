"""Large bodies through a proxy, as many whole ones as fit into the time. Prints its figures as JSON.

python -m bench.bulk_load PORT down|up OCTETS CONNECTIONS SECONDS
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time

PIECE = bytes(1024 * 1024)
TARGET = "/service-01/orders/"


def download(connection: socket.socket, octets: int, into: bytearray) -> None:
    """One body down. OSError: it did not come whole."""
    connection.sendall(f"GET {TARGET}down-{octets} HTTP/1.1\r\nHost: api.example.test\r\n\r\n".encode())
    head, rest = _head(connection)
    if not head.startswith(b"HTTP/1.1 200 ") or _length(head) != octets:
        raise OSError(f"the answer was {head!r}")
    left = octets - len(rest)
    while left:
        count = connection.recv_into(into)
        if not count:
            raise OSError(f"the body ended {left} octets early")
        left -= count


def upload(connection: socket.socket, octets: int) -> None:
    """One body up. OSError: it was not taken."""
    head = f"POST {TARGET}up HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: {octets}\r\n\r\n"
    connection.sendall(head.encode())
    whole, part = divmod(octets, len(PIECE))
    for _ in range(whole):
        connection.sendall(PIECE)
    connection.sendall(PIECE[:part])
    head_back, rest = _head(connection)
    if not head_back.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"the answer was {head_back!r}")
    left = _length(head_back) - len(rest)
    while left > 0:
        left -= len(connection.recv(left)) or left


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """(the answer's head, what came with it)."""
    found = b""
    while b"\r\n\r\n" not in found:
        more = connection.recv(65536)
        if not more:
            raise OSError("the connection was closed before an answer")
        found += more
    head, _, rest = found.partition(b"\r\n\r\n")
    return head, rest


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if found is None:
        raise OSError(f"no Content-Length: {head!r}")
    return int(found[1])


def main() -> None:
    port, direction, octets, connections, seconds = int(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:])
    done: list[int] = []
    wrong: list[str] = []
    end = time.monotonic() + seconds

    def work() -> None:
        into = bytearray(1024 * 1024)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                while not done or time.monotonic() < end:
                    if direction == "down":
                        download(connection, int(octets), into)
                    else:
                        upload(connection, int(octets))
                    done.append(1)
        except OSError as error:
            wrong.append(str(error))

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    print(json.dumps({"octets": len(done) * int(octets), "seconds": took, "wrong": wrong}))


if __name__ == "__main__":
    main()
