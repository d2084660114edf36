"""A link as a worker has one, in the test's own reactor."""

from __future__ import annotations

import ssl
from typing import Any

from toolkit.waiting import reactor, until

from apigateway.adapters.dns import DnsResolver
from apigateway.adapters.redis.dialling import Reach
from apigateway.adapters.redis.link import RedisLink
from apigateway.adapters.redis.remote import Remote
from apigateway.adapters.redis.scripts import Script
from apigateway.adapters.system import ReactorTimers, SystemClock, SystemRandom
from apigateway.config.model import State
from apigateway.config.state_model import read_state
from apigateway.ports.interfaces import StoreUnavailable
from apigateway.ports.memory import ListedEvents
from apigateway.transport.endpoints import NativeClientEndpoint

COUNT = Script("count", b"return redis.call('INCR', KEYS[1])")


class Linked:
    """What reaches a server; `events` is what operators would read. Made by the fixture `linked`."""

    def __init__(
        self, state: Any, context: ssl.SSLContext | None = None, environment: str = "test", resolver: Any = None
    ) -> None:
        self.settings = State.model_validate(read_state(state))
        self.events = ListedEvents()
        names = resolver or DnsResolver(reactor)
        reach = Reach(_connect, names, ReactorTimers(reactor), SystemClock().monotonic, context)
        self.remote = Remote(self.settings, environment, reach, SystemRandom(), self.events)

    @property
    def link(self) -> RedisLink:
        return self.remote.link

    async def start(self) -> Linked:
        """Until the first attempt is over."""
        await self.link.start()
        return self

    async def connected(self, within: float = 5.0) -> None:
        await until(lambda: self.link.connected, lambda: self.link.why, within=within)

    async def without(self, within: float = 5.0) -> None:
        await until(lambda: not self.link.connected, "the circuit opens", within=within)

    async def decide(self) -> tuple[Any, float]:
        """One count: the result, or the exception's text; and the seconds that it took."""
        began = reactor.seconds()
        try:
            result = await self.link.run(COUNT, [b"apigateway:test:{k}:n"], [])
        except StoreUnavailable as error:
            result = str(error)
        return result, reactor.seconds() - began

    def lines(self) -> list[str]:
        return [message for _, message, _ in self.events.events]


def _connect(address: Any, factory: Any, context: Any, server_name: str, within: float) -> Any:
    endpoint = NativeClientEndpoint(
        reactor, address, ssl_context=context, server_hostname=server_name if context else None, timeout=within
    )
    return endpoint.connect(factory)
