"""A crowd that a proxy has to live with: idle kept connections, and slow clients that mean no good.

python -m bench.crowd PORT IDLE SLOW

Says `ready` when all are there, and leaves when standard input ends, with what became of them as JSON.
A slow client sends a head an octet at a time, or a body, or asks a hundred times and reads nothing; who is thrown out
comes back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from bench.job import BODY, requests
from bench.processes import raise_limit

OCTET_SECONDS = 0.2
UNREAD = 100
# So many connections are opened at a time: a proxy's backlog is not what is tried here.
AT_ONCE = 50

asked = requests()
seen: Counter[str] = Counter()
kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []


async def idle(port: int, number: int, gate: asyncio.Semaphore) -> None:
    """A request, and then nothing."""
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(asked[number % len(asked)])
        await reader.readuntil(BODY.encode())
        kept.append((reader, writer))


async def slow(port: int, number: int) -> None:
    """One slow client, without end."""
    ways = (drip_head, drip_body, read_nothing)
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            seen["slow connections"] += 1
            try:
                await ways[number % len(ways)](reader, writer)
            finally:
                writer.transport.abort()
        except OSError:
            pass
        await asyncio.sleep(OCTET_SECONDS)


async def drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _drip(reader, writer, asked[0][:-4] + b"\r\nX-Long: " + b"x" * 4096)


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(asked[0][:-2] + b"Content-Length: 100000\r\n\r\n")
    await _drip(reader, writer, b"x" * 100_000)


async def read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for number in range(UNREAD):
        writer.write(asked[number])
    while not writer.transport.is_closing():
        await asyncio.sleep(OCTET_SECONDS)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> None:
    for octet in octets:
        if reader.at_eof() or writer.transport.is_closing():
            return
        writer.write(bytes([octet]))
        await asyncio.sleep(OCTET_SECONDS)


async def main() -> None:
    port, idles, slows = map(int, sys.argv[1:])
    gate = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(idle(port, number, gate) for number in range(idles)))
    tasks = [asyncio.create_task(slow(port, number)) for number in range(slows)]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    lost = sum(reader.at_eof() or writer.transport.is_closing() for reader, writer in kept)
    print(json.dumps({"lost": lost, **seen}), flush=True)
    for _, writer in kept:
        writer.transport.abort()


if __name__ == "__main__":
    raise_limit()
    asyncio.run(main())
