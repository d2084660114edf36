"""The real service in the test's own reactor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from twisted.internet.defer import Deferred

from apigateway.assembly import GatewayService, make_service
from toolkit.waiting import PATIENCE, reactor, until

MANAGEMENT_TOKEN = "operator"
MANAGEMENT_HASH = "06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"


class Gateway:
    """A service on a file in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.service: GatewayService = None  # type: ignore[assignment]

    def write(self, settings: dict[str, Any]) -> None:
        """The whole configuration, in one step: nobody reads half of it."""
        new = self.folder / "gateway.yaml.new"
        writer = YAML(typ="safe", pure=True)
        writer.representer.ignore_aliases = lambda data: True  # the format knows none
        with new.open("w") as file:
            writer.dump({**self._process(), **settings}, file)
        new.replace(self.file)

    def _process(self) -> dict[str, Any]:
        return {
            "version": 1,
            "listeners": [{"name": "public", "address": "127.0.0.1:0"}],
            "data_dir": None,
            "logs": {"access": "access.log", "error": "error.log"},
            "drain": {"notice": "1ms", "timeout": "1s"},
        }

    async def start(self, *, last_good: bool = False) -> None:
        """Start, and wait until it accepts."""
        self.service = make_service(reactor, str(self.file), last_good=last_good)
        # A start that fails ends the program; here it is to end the test only.
        self.service._stop_reactor = lambda: None  # type: ignore[method-assign]
        self.service.privilegedStartService()
        self.service.startService()
        await self.service.started.addTimeout(PATIENCE, reactor)

    async def stop(self) -> None:
        """Drain and end; no more than once."""
        service, self.service = self.service, None  # type: ignore[assignment]
        if service is not None:
            await Deferred.fromCoroutine(_wait(service.stopService())).addTimeout(10.0, reactor)
            await until(lambda: not any(one.listener.connections for one in service.worker.bound))

    @property
    def worker(self) -> Any:
        return self.service.worker

    def address(self, listener: int = 0) -> tuple[str, int]:
        """Where a listener is."""
        host = self.worker.bound[listener].port.getHost()
        return host.host, host.port

    @property
    def management(self) -> tuple[str, int]:
        """Where the management listener is."""
        host = self.service._management_port.getHost()
        return host.host, host.port

    async def reload(self) -> dict[str, Any]:
        """What SIGHUP does, and what came of it."""
        result: dict[str, Any] = await self.worker.reload()
        return result

    # ---- logs

    def access(self) -> list[dict[str, Any]]:
        """The lines of the access log so far."""
        return _lines(self.folder / "access.log")

    def events(self) -> list[dict[str, Any]]:
        """The lines of the error log so far."""
        return _lines(self.folder / "error.log")

    async def line(self, which: Callable[[dict[str, Any]], bool] = lambda line: True) -> dict[str, Any]:
        """The first line of the access log that fits, once it is written."""
        found = await until(lambda: [one for one in self.access() if which(one)], lambda: self.access())
        return found[0]

    async def event(self, message: str, **fields: Any) -> dict[str, Any]:
        """The first event with this message and these fields, once it is written."""

        def fits(one: dict[str, Any]) -> bool:
            return message in one["message"] and fields.items() <= one.items()

        found = await until(lambda: [one for one in self.events() if fits(one)], lambda: self.events())
        return found[0]


async def _wait(work: Any) -> Any:
    return await work


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
