"""The job that every proxy of a benchmark does: small GETs, as the page of an app would send them."""

from __future__ import annotations

import random
import uuid

from bench.scenario import PLAIN, RESOURCES, Scenario

CONNECTIONS = 32
BODY = '{"id":1234,"name":"one of many","state":"open","total":"19.90","currency":"EUR"}'

# So many different requests, one after the other: real ones have ids of their own, and what somebody remembers of a
# request (a whole field line, a target) is worth no more here than there.
REQUESTS = 8192
CLIENTS = 200


def requests(scenario: Scenario = PLAIN, *, close: bool = False) -> list[bytes]:
    """The requests as they go over the wire: GETs with nine field lines; the same every time.

    close: each asks for its connection to be closed.
    """
    chance = random.Random(7)
    clients = [(chance.randbytes(24).hex(), chance.randbytes(8).hex()) for _ in range(CLIENTS)]
    services = scenario.services()
    return [_request(chance, services, *chance.choice(clients), close) for _ in range(REQUESTS)]


def _request(chance: random.Random, services: tuple[str, ...], token: str, session: str, close: bool) -> bytes:
    service, resource = chance.choice(services), chance.choice(RESOURCES)
    return "\r\n".join([
        f"GET /{service}/{resource}/{chance.randrange(100_000)}?expand=items HTTP/1.1",
        "Host: api.example.test",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Accept: application/json, text/plain;q=0.9, */*;q=0.8",
        "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
        "Accept-Encoding: gzip, deflate, br",
        f"Authorization: Bearer {token}",
        f"X-Request-Id: {uuid.UUID(int=chance.getrandbits(128), version=4)}",
        f"Cookie: session={session}; theme=dark; consent=necessary",
        "Connection: close" if close else "Cache-Control: no-cache",
        "", "",
    ]).encode()


def response_octets() -> bytes:
    """The backend's answer, with the fields that nginx sends."""
    head = (
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Wed, 25 Nov 2026 19:59:27 GMT\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nConnection: keep-alive\r\n\r\n"
    )
    return (head + BODY).encode()
