"""Sentinels: who of a service's servers is the primary now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from apigateway.adapters.redis.connection import RedisConnection
from apigateway.adapters.redis.replies import StoreError
from apigateway.config.addresses import TcpAddress
from apigateway.ports.interfaces import StoreUnavailable

Open = Callable[[TcpAddress], Awaitable[RedisConnection]]


class Sentinels:
    """Asked in turn, beginning with the one that answered last; with another one after `doubt`.

    open: connects to one of them, and logs in.
    """

    def __init__(self, places: Sequence[TcpAddress], service: str, open: Open) -> None:
        self._places = list(places)
        self._service = service
        self._open = open

    async def primary(self) -> TcpAddress:
        """Where they say that the primary is; StoreUnavailable where none of them can be asked, or knows."""
        why = ""
        for place in list(self._places):
            try:
                found = await self._ask(place)
            except (StoreUnavailable, StoreError) as error:
                why = f"{place}: {error}"
            else:
                if found is not None:
                    self._places.remove(place)
                    self._places.insert(0, place)
                    return found
                why = f'{place} does not know the service "{self._service}"'
        raise StoreUnavailable(f"no Sentinel tells where the primary is; {why}")

    def doubt(self) -> None:
        """What was said last led nowhere: its Sentinel may be cut off from the others, who will have chosen anew."""
        self._places.append(self._places.pop(0))

    async def _ask(self, place: TcpAddress) -> TcpAddress | None:
        connection = await self._open(place)
        try:
            answer = await connection.call(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._service.encode())
        finally:
            connection.end("it is not needed any more")
        return None if answer is None else TcpAddress(answer[0].decode(), int(answer[1]))
