"""What the transport's tests share."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import pytest_twisted
import trustme
from peers import Sockets


@pytest_twisted.async_yield_fixture
async def sockets() -> Any:
    kept = Sockets()
    yield kept
    await kept.close()


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
