"""The one place where concrete things meet: from a checked file to a running service."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from apigateway.checking import Checked, check_file
from apigateway.dataplane.building import Candidate
from apigateway.dataplane.certificates import stamp
from apigateway.dataplane.resource import GatewayResource
from apigateway.errors import ConfigurationRefused
from apigateway.ports.interfaces import IWorker
from apigateway.program import ProgramService, Setting, checked_to_serve
from apigateway.replacement import PidFile, key_of, place_of_address
from apigateway.traffic import Traffic, candidate_of
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.inherited import Inherited
from apigateway.transport.several import SeveralSocketsEndpoint
from apigateway.wire.ipset import IpSet

__all__ = ["Checked", "GatewayService", "check_file", "gateway_resource", "make_service"]


def make_service(reactor: Any, path: str, *, last_good: bool = False) -> GatewayService:
    """The service of a configuration file, in one process. ConfigurationRefused where it is broken.

    last_good: where it is, start with the last good one of its data_dir (or of ./data beside it) instead.
    """
    seen = stamp(path)
    checked, parts = checked_to_serve(path, use_last_good=last_good)
    return GatewayService(reactor, Setting(path, checked, parts, Inherited(), PidFile(None), seen))


def gateway_resource(reactor: Any, path: str) -> Deferred[GatewayResource]:
    """The plans of a configuration file as a resource, for a program that has a twisted.web site of its own.

    Fires when it is ready; fails with ConfigurationRefused. The file's listeners, management listener, data_dir and
    `watch` are left alone, signals and Twisted's log stay the program's; there is no reload. The reactor has to be
    asyncio's (apigateway.transport.reactor.install), which the connections to targets need. The resource is closed
    when the reactor stops, or by its `close`.
    """
    return Deferred.fromCoroutine(_gateway_resource(reactor, path))


async def _gateway_resource(reactor: Any, path: str) -> GatewayResource:
    checked, parts = checked_to_serve(path)
    configuration = candidate_of(checked).configuration
    drain = configuration.drain
    embedded = configuration.model_copy(
        update={
            "listeners": (), "management": None, "data_dir": None, "watch": False,
            "drain": drain.model_copy(update={"notice": 0.0}),
        }
    )
    setting = Setting(path, replace(checked, configuration=embedded), parts, Inherited(), PidFile(None))
    service = GatewayService(reactor, setting)
    resource = GatewayResource(
        service.worker.driver, trusted=IpSet(configuration.trusted_proxies), drain=drain.timeout,
        release=service.stopService,
    )
    try:
        await service.worker.start()
    except ConfigurationRefused:
        await service.stopService()
        raise
    reactor.addSystemEventTrigger("before", "shutdown", resource.close)
    return resource


class GatewayService(ProgramService):
    """A program of one process: it carries the traffic itself."""

    def __init__(self, reactor: Any, setting: Setting) -> None:
        self._reactor, self._inherited, self._parts = reactor, setting.inherited, setting.parts
        self.traffic = Traffic(
            reactor, candidate_of(setting.checked), setting.parts, self._endpoint, self._prepare, self.taken
        )
        self.worker, self.metrics = self.traffic.worker, self.traffic.metrics
        super().__init__(reactor, setting, self.traffic.events)

    def _prepare(self) -> Deferred[Candidate]:
        """Read and check the file in a thread: a large one would stop the loop."""
        return deferToThread(lambda: candidate_of(check_file(self._path, serving=True, parts=self._parts)))

    def _endpoint(self, settings: Any, context: ssl.SSLContext | None) -> Any:
        def of(one: Any) -> NativeServerEndpoint:
            return NativeServerEndpoint(
                self._reactor, place_of_address(settings.address), ssl_context=context, sock=one,
                proxied=settings.proxy_protocol is not None,
            )

        inherited = self._inherited.take(key_of(settings.name, settings.address))
        if len(inherited) > 1:  # of several workers
            return SeveralSocketsEndpoint(of, inherited, range(len(inherited)))
        return of(inherited[0] if inherited else None)

    # ---- see ProgramService

    def bind(self) -> None:
        self.worker.privilegedStartService()

    async def serve(self) -> None:
        await self.traffic.start()

    async def end(self, *, handed_over: bool) -> None:
        for bound in self.worker.bound:
            port: Any = bound.port
            if port is not None and self._theirs(bound.listener.name, bound.listener.settings.address):
                port.leave_file()
        await self.traffic.drain(handed_over=handed_over)
        self.worker.close()

    def abort(self) -> None:
        self.worker.abort()

    def reload(self) -> Awaitable[Any]:
        return self.worker.reload()

    def reopen_logs(self) -> None:
        self.traffic.reopen_logs()

    async def close(self) -> None:
        await self.traffic.close_logs()

    def shown(self) -> IWorker:
        return self.worker

    def exposition(self) -> Awaitable[bytes]:
        return self.metrics.exposition_later(self._reactor)

    def revision(self) -> str:
        return self.worker.driver.revision.digest

    def descriptors(self) -> list[tuple[str, int]]:
        return [
            (key_of(bound.listener.name, bound.listener.settings.address), descriptor)
            for bound in self.worker.bound
            for descriptor in getattr(bound.port, "descriptors", ())
        ]

    def leave_files(self) -> None:
        for bound in self.worker.bound:
            port: Any = bound.port
            port.leave_file()
