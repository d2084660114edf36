"""A small HTTP service to put behind the gateway: it answers, slows down and fails on request.

`python -m apigateway.cli.demo_service --port 9001 --name one`; see ANSWERS for what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

import click

from apigateway.cli.demo_requests import PIECE, DemoRequest, read_request
from apigateway.cli.demo_websocket import echo as websocket_echo

DAY = 86400


class DemoService:
    """Answers requests; name: what it calls itself in them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._answers: dict[str, Callable[[DemoRequest], Awaitable[None]]] = {
            "/hello": self._hello,
            "/health": self._hello,
            "/slow": self._slow,
            "/fail": self._fail,
            "/echo": self._echo,
            "/events": self._events,
            "/ws": websocket_echo,
            "/bytes": self._bytes,
            "/upload": self._upload,
        }

    async def connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection until its end."""
        # CancelledError: the service ends, and asyncio would print a trace for each connection that is kept.
        with contextlib.suppress(ConnectionError, IncompleteReadError, ValueError, asyncio.CancelledError):
            while (request := await read_request(reader, writer)) is not None:
                await self._answers.get(request.path, self._unknown)(request)
                await request.skip_body()
                if "upgrade" in request.fields or request.fields.get("connection", "").lower() == "close":
                    break
        writer.close()

    async def _hello(self, request: DemoRequest) -> None:
        await request.answer_json(200, {"hello": "world", "service": self._name})

    async def _unknown(self, request: DemoRequest) -> None:
        await request.answer_json(404, {"error": f"no {request.path} here", "service": self._name})

    async def _slow(self, request: DemoRequest) -> None:
        """?seconds=2: answers after so long."""
        seconds = request.number("seconds", 2, DAY)
        await asyncio.sleep(seconds)
        await request.answer_json(200, {"slept": seconds, "service": self._name})

    async def _fail(self, request: DemoRequest) -> None:
        """?status=503: answers with this status."""
        status = max(200, request.number("status", 503, 599))
        if status in (204, 304):
            request.begin(status, "")
            return
        await request.answer_json(status, {"failed": "on request", "service": self._name})

    async def _echo(self, request: DemoRequest) -> None:
        """What arrived: method, target, fields, body."""
        body = b"".join([piece async for piece in request.body()]).decode("utf-8", "replace")
        seen = {"method": request.method, "target": request.target, "headers": request.fields, "body": body}
        await request.answer_json(200, {**seen, "service": self._name})

    async def _events(self, request: DemoRequest) -> None:
        """?count=60: server-sent events, one per second."""
        fields = ("Content-Type: text/event-stream", "Cache-Control: no-store", "Transfer-Encoding: chunked", "")
        request.begin(200, "\r\n".join(fields))
        for number in range(1, request.number("count", 60, DAY) + 1):
            event = f"id: {number}\ndata: event {number} of {self._name}\n\n".encode()
            request.writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await request.writer.drain()
            await asyncio.sleep(1)
        request.writer.write(b"0\r\n\r\n")

    async def _bytes(self, request: DemoRequest) -> None:
        """?n=1048576: so many octets."""
        left = request.number("n", 1024 * 1024, 1 << 40)
        request.begin(200, f"Content-Type: application/octet-stream\r\nContent-Length: {left}\r\n")
        if request.method == "HEAD":
            return
        piece = bytes(range(256)) * (PIECE // 256)
        while left:
            request.writer.write(piece[:left])
            left -= min(left, PIECE)
            await request.writer.drain()

    async def _upload(self, request: DemoRequest) -> None:
        """Counts and hashes what comes; keeps nothing."""
        count, digest = 0, hashlib.sha256()
        async for piece in request.body():
            count += len(piece)
            digest.update(piece)
        await request.answer_json(200, {"octets": count, "sha256": digest.hexdigest(), "service": self._name})


async def serve(name: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. OSError where the port is taken."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await asyncio.start_server(DemoService(name).connection, host, port)
    bound = server.sockets[0].getsockname()[1]
    click.echo(f"{name} on {host}:{bound}")
    await ended.wait()
    # Not wait_closed(): connections that the gateway keeps would hold it up.
    server.close()


@click.command()
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="0: any; the port is printed.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--name", default="service", show_default=True, help="What it calls itself.")
def main(port: int, host: str, name: str) -> None:
    """A service to put behind the gateway."""
    try:
        asyncio.run(serve(name, host, port))
    except OSError as error:
        raise click.ClickException(f"{host}:{port}: {error.strerror}") from error


if __name__ == "__main__":
    main()
