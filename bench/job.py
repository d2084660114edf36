"""The job that every proxy of a benchmark does: small GETs, as the page of an app would send them."""

from __future__ import annotations

import random
import uuid

CONNECTIONS = 32
BODY = '{"id":1234,"name":"one of many","state":"open","total":"19.90","currency":"EUR"}'

# So many different requests, one after the other: real ones have ids of their own, and what somebody remembers of a
# request (a whole field line, a target) is worth no more here than there.
REQUESTS = 8192
CLIENTS = 200

# The routes of ours: so many apis with so many routes each. Requests are for these services of them, which the peers
# have routes for, too (peers/).
APIS = 20
SERVICES = ("service-01", "service-03", "service-05", "service-07", "service-09")
RESOURCES = (
    "orders", "customers", "invoices", "products", "carts", "shipments", "returns", "payments", "ratings", "stocks",
)


def requests() -> list[bytes]:
    """The requests as they go over the wire: GETs with nine field lines; the same every time."""
    chance = random.Random(7)
    clients = [(chance.randbytes(24).hex(), chance.randbytes(8).hex()) for _ in range(CLIENTS)]
    return [_request(chance, *chance.choice(clients)) for _ in range(REQUESTS)]


def _request(chance: random.Random, token: str, session: str) -> bytes:
    service, resource = chance.choice(SERVICES), chance.choice(RESOURCES)
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
        "Cache-Control: no-cache",
        "", "",
    ]).encode()


def response_octets() -> bytes:
    """The backend's answer, with the fields that nginx sends."""
    head = (
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Wed, 25 Nov 2026 19:59:27 GMT\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nConnection: keep-alive\r\n\r\n"
    )
    return (head + BODY).encode()


def gateway_configuration(port: int, backends: tuple[int, int], access_log: str) -> str:
    """Our configuration: routing over many routes, metrics (always on), the access log to a file, no policy."""
    lines = [
        "version: 1",
        f'listeners: [{{name: public, address: "127.0.0.1:{port}"}}]',
        f'logs: {{access: "{access_log}", error: "off"}}',
        "data_dir: null",
        "drain: {notice: 10ms, timeout: 1s}",
        "upstreams:",
        "  - name: backend",
        f'    targets: [{", ".join(f"{{url: {_quoted(backend)}}}" for backend in backends)}]',
        "apis:",
    ]
    for number in range(APIS):
        lines += [f"  - name: service-{number:02d}", f"    base_path: /service-{number:02d}", "    routes:"]
        lines += [
            f'      - {{name: {name}, match: {{methods: [GET], path: "/{name}/{{id}}"}}, upstream: backend}}'
            for name in RESOURCES
        ]
    return "\n".join(lines) + "\n"


def _quoted(port: int) -> str:
    return f'"http://127.0.0.1:{port}"'
