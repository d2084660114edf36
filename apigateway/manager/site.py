"""The site that a management API stands on: twisted.web's, with a limit while a body still comes in."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from apigateway.manager.guard import LARGEST_BODY

IDLE_TIMEOUT = 60.0
_REFUSAL = (
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
)


class ManagementRequest(Request):
    """twisted.web reads a body whole, however long, before any resource is asked; this refuses while it comes."""

    _refused = False
    _octets = 0

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)  # type: ignore[no-untyped-call]
        if length is not None and length > LARGEST_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > LARGEST_BODY:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._refused:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            channel: Any = self.channel
            channel.transport.write(_REFUSAL)
            channel.loseConnection()


class ManagementSite(Site):
    """A site for `worker_api.resource` and its like. It writes no log of its own, and shows no traceback."""

    noisy = False
    displayTracebacks = False

    def __init__(self, root: IResource) -> None:
        super().__init__(root, requestFactory=ManagementRequest, timeout=IDLE_TIMEOUT)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Nothing: scrapes and probes would fill the log."""
