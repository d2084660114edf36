"""Everything of one test: what it opened is closed when it ends, in the right order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.client import Client, connect
from toolkit.gateway import Gateway
from toolkit.message import Answer
from toolkit.origin import Origin, Script, read_and_answer
from toolkit.waiting import turn, until


class Stage:
    """Origins, a gateway and its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway = Gateway(folder)
        self._origins: list[Origin] = []
        self._clients: list[Client] = []

    async def origin(self, script: Script = read_and_answer, name: str = "", **where: Any) -> Origin:
        """An origin that listens."""
        origin = Origin(script, name or f"o{len(self._origins) + 1}")
        await origin.listen(**where)
        self._origins.append(origin)
        return origin

    async def serve(self, settings: dict[str, Any], **how: Any) -> Gateway:
        """The gateway with these settings."""
        self.gateway.write(settings)
        await self.gateway.start(**how)
        return self.gateway

    async def client(self, place: Any = None, **how: Any) -> Client:
        """A connection to the gateway, to its first listener unless said otherwise."""
        client = await connect(self.gateway.address() if place is None else place, **how)
        self._clients.append(client)
        return client

    async def ask(self, method: str, target: str, *lines: str, **how: Any) -> Answer:
        """One request on a connection of its own."""
        where = {name: how.pop(name) for name in ("place", "source", "tls", "server_name") if name in how}
        client = await self.client(**where)
        answer = await client.ask(method, target, *lines, **how)
        client.close()
        return answer

    async def close(self) -> None:
        """End everything, and see that all of it is gone."""
        for client in self._clients:
            client.transport.abort()
        await self.gateway.stop()
        for origin in self._origins:
            origin.end()
        streams = [*self._clients, *(one for origin in self._origins for one in origin.connections)]
        await until(lambda: all(one.closed for one in streams), "every connection is closed")
        await turn()
        errors = [str(error) for origin in self._origins for error in origin.errors]
        assert not errors, errors
