"""Clients that do not behave, and upstreams that do not: what a soak has beside its load.

python -m bench.unruly PORT COUNT

Says `ready`, and leaves when standard input ends, with what it did as JSON. Each client does one thing after the
other, on connections of its own: leaves during a download, an upload, a head; asks for what the upstream breaks off;
asks a few times and leaves.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter

from bench.job import BODY, requests

MIB = 1024 * 1024
REST_SECONDS = (0.02, 0.2)
PATIENCE_SECONDS = 10.0

asked = requests()
done: Counter[str] = Counter()
chance = random.Random(7)


def head(method: str, what: str, fields: str = "") -> bytes:
    """A request for the backend of large bodies."""
    return f"{method} /bulk/{what} HTTP/1.1\r\nHost: api.example.test\r\n{fields}\r\n".encode()


async def leave_download(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(head("GET", f"down-{20 * MIB}"))
    await reader.readexactly(chance.randrange(1, MIB))


async def leave_upload(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(head("POST", "up", f"Content-Length: {20 * MIB}\r\n"))
    writer.write(bytes(chance.randrange(1, MIB)))
    await writer.drain()


async def leave_head(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(asked[0][: chance.randrange(1, len(asked[0]))])
    await writer.drain()


async def broken_off(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(head("GET", f"reset-{chance.choice((2, 1000, MIB))}"))
    await reader.read()


async def ask(reader: StreamReader, writer: StreamWriter) -> None:
    for request in chance.sample(asked, 5):
        writer.write(request)
        await reader.readuntil(BODY.encode())


WAYS = (leave_download, leave_upload, leave_head, broken_off, ask)


async def client(port: int) -> None:
    """Without end."""
    while True:
        way = chance.choice(WAYS)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await way(reader, writer)
                finally:
                    writer.transport.abort()
            done[way.__name__] += 1
        except TimeoutError:
            done[f"{way.__name__}: no end"] += 1
        except (OSError, asyncio.IncompleteReadError):
            # Of `ask`, an answer is missing; the others may be told off.
            done[f"{way.__name__}: closed"] += 1
        await asyncio.sleep(chance.uniform(*REST_SECONDS))


async def main() -> None:
    tasks = [asyncio.create_task(client(int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(dict(sorted(done.items()))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
