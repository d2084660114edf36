"""A client that speaks octets."""

from __future__ import annotations

import ssl

from toolkit.message import Answer, Message, read_body, split_head
from toolkit.stream import Stream
from toolkit.waiting import PATIENCE, event_loop, on_loop

HOST = "gw.test"


class Client(Stream):
    """One connection to a gateway."""

    async def answer(self, method: str = "GET", within: float = PATIENCE) -> Answer:
        """The next final response, whole. method: of the request it answers."""
        answer = await self.head(within)
        if method != "HEAD" and answer.status not in (204, 304) and answer.status != 101:
            await read_body(self, answer, answer=True, within=within)
        return answer

    async def head(self, within: float = PATIENCE) -> Answer:
        """The next final response, up to its body."""
        interim: list[Message] = []
        while True:
            raw = await self.past(b"\r\n\r\n", within)
            answer = Answer(*split_head(raw), raw=raw)
            if answer.status >= 200 or answer.status == 101:
                answer.interim = interim
                return answer
            interim.append(answer)

    async def ask(
        self,
        method: str,
        target: str,
        *lines: str,
        body: bytes | None = None,
        host: str = HOST,
        within: float = PATIENCE,
    ) -> Answer:
        """Send a request and read its response."""
        self.send(request(method, target, *lines, body=body, host=host))
        return await self.answer(method, within)


def request(method: str, target: str, *lines: str, body: bytes | None = None, host: str = HOST) -> bytes:
    """A request's octets; lines as "Name: value"."""
    fields = [f"Host: {host}", *lines]
    if body is not None:
        fields.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", ""])
    return head.encode("latin-1") + (body or b"")


async def connect(
    place: tuple[str, int] | str,
    *,
    source: str | None = None,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Client:
    """Connect to (address, port) or to a Unix socket's path. source: the address that is called from."""
    loop = event_loop()
    if isinstance(place, str):
        _, client = await on_loop(loop.create_unix_connection(Client, place))
    else:
        local = None if source is None else (source, 0)
        _, client = await on_loop(
            loop.create_connection(Client, *place, local_addr=local, ssl=tls, server_hostname=server_name)
        )
    return client  # type: ignore[no-any-return]
