"""What the transport's tests share."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
import trustme
from peers import Sockets
from twisted.logger import globalLogPublisher


@pytest_twisted.async_yield_fixture
async def sockets() -> Any:
    kept = Sockets()
    yield kept
    await kept.close()


@pytest.fixture
def failures() -> Iterator[list[Any]]:
    """Failures that were logged, for the tests in which that is right."""
    seen: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            seen.append(event["log_failure"].value)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("a.test", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context
