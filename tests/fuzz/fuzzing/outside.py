"""What other programs say: name servers, the machine's files, workers, and callers of the management API."""

from __future__ import annotations

import io
from collections.abc import Coroutine
from typing import Any

from twisted.names import dns

from apigateway.adapters.dns import LITERAL_TTL, _follow, _Found, addresses_of, records_of
from apigateway.adapters.hosts_file import parse_hosts, parse_resolv_conf
from apigateway.config.addresses import as_ip
from apigateway.config.model import Configuration
from apigateway.flow.explaining import explain
from apigateway.flow.registry import discover
from apigateway.manager.explain_call import ExplainCall, read_body, read_query
from apigateway.manager.problems import Refused
from apigateway.manager.worker_api import WorkerApi
from apigateway.supervisor.messages import (
    Alive,
    Answer,
    Ask,
    BadFrame,
    Begin,
    Commit,
    Decoder,
    Failed,
    Figures,
    encode,
)
from apigateway.testing.live import Twins, draft_of
from fuzzing.http1 import alike
from fuzzing.target import Target, text_of


def attempt_answer(data: bytes) -> None:
    """An answer is addresses, records of a service, or an alias that can be asked for. What is no message is for
    Twisted to drop."""
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:
        return
    for kind in (dns.A, dns.AAAA, dns.SRV):
        found = _follow(_Found(b"a.test", (), LITERAL_TTL), kind, message.answers)
        if kind == dns.SRV:
            assert all(record.weight >= 0 for record in records_of(found.payloads))
        else:
            assert all(as_ip(address) for address in addresses_of(found.payloads))
        asked = dns.Message(1)
        asked.addQuery(found.name, kind)
        asked.toStr()


def attempt_hosts_file(data: bytes) -> None:
    text = text_of(data)
    assert all(as_ip(address) for held in parse_hosts(text).values() for address in held)
    assert all(as_ip(address) and port == 53 for address, port in parse_resolv_conf(text))


def attempt_messages(data: bytes) -> None:
    """The same messages however the octets are cut; written and read again they are as they were."""

    def read(pieces: list[bytes]) -> list[tuple[object, ...]]:
        decoder = Decoder()
        seen: list[tuple[object, ...]] = []
        try:
            for piece in pieces:
                for message in decoder.feed(piece):
                    seen.append((message,))
        except BadFrame:
            seen.append(())
        return seen

    for found in alike(read, data):
        for message in found:
            assert list(Decoder().feed(encode(message))) == [message]  # type: ignore[arg-type]


class _Asked:
    """As much of a request of twisted.web's as is looked at."""

    def __init__(self, body: bytes) -> None:
        self.content = io.BytesIO(body)
        self.args: dict[bytes, list[bytes]] = {}
        for pair in body.split(b"&"):
            name, _, value = pair.partition(b"=")
            self.args.setdefault(name, []).append(value)
        self.code = 0

    def setResponseCode(self, code: int) -> None:
        self.code = code

    def setHeader(self, name: bytes, value: bytes) -> None: ...


class _Worker:
    """Explains by a revision that has some of everything."""

    def __init__(self) -> None:
        self._draft = draft_of(_SETTINGS, discover([]), Twins())

    def explain(self, method: str, url: str, headers: Any) -> dict[str, Any]:
        return explain(self._draft, method, url, headers)


_TARGETS = [{"name": "one", "url": "http://one.test"}]
_SETTINGS = Configuration.model_validate(
    {
        "version": 1,
        "listeners": [{"name": "test", "address": "127.0.0.1:8080"}],
        "upstreams": [
            {"name": "up", "targets": _TARGETS},
            {
                "name": "hashed",
                "balance": "consistent-hash",
                "hash_on": {"source": "expression", "name": 'request.headers["x-a"]'},
                "targets": _TARGETS,
            },
            {
                "name": "body",
                "balance": "consistent-hash",
                "hash_on": {"source": "expression", "name": "string(request.json.a)"},
                "targets": _TARGETS,
            },
        ],
        "apis": [
            {
                "name": "api",
                "hosts": ["*.example.test"],
                "base_path": "/api",
                "routes": [
                    {
                        "name": "a",
                        "match": {"methods": ["GET"], "path": "/{id}", "headers": {"x-a": "1"}},
                        "upstream": "up",
                    },
                    {
                        "name": "b",
                        "match": {"path_prefix": "/b"},
                        "upstream": [
                            {"when": "int(request.query['n']) > 1", "upstream": "up"},
                            {"upstream": "hashed"},
                        ],
                    },
                    {"name": "c", "match": {"path_prefix": "/c"}, "upstream": "body"},
                ],
            },
            {
                "name": "rest",
                "routes": [{"name": "all", "match": {"path_prefix": "/"}, "upstream": "hashed"}],
            },
        ],
    }
)
_API: Any = WorkerApi(_Worker(), lambda: b"")  # type: ignore[arg-type]


def _result(call: Coroutine[Any, Any, bytes]) -> bytes:
    """What comes of a call that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return bytes(done.value)
    raise AssertionError("it waits")


def attempt_explain(data: bytes) -> None:
    """What the management API is asked is answered, or refused as a problem of the caller's."""
    for read, call in ((read_body, _API.explain), (read_query, _API.explain_query)):
        try:
            assert isinstance(read(_Asked(data)), ExplainCall)
            _result(call(_Asked(data)))
        except Refused as refused:
            assert 400 <= refused.status < 500


def _answer(*records: dns.RRHeader) -> bytes:
    message = dns.Message(1, answer=1)
    message.addQuery(b"a.test", dns.A)
    message.answers = list(records)
    return bytes(message.toStr())


def _record(name: bytes, payload: Any) -> dns.RRHeader:
    return dns.RRHeader(name, payload.TYPE, dns.IN, 60, payload)


_MESSAGES: tuple[bytes, ...] = (
    encode(Begin(1, 2, "gateway.yaml", {"a": [3, 4]}, [1], [["up", "one"]], b"{}")) + encode(Commit(7)),
    encode(Ask(1, "explain", ["GET", "/", []])) + encode(Answer(1, {"route": None}, "no such thing")),
    encode(Alive(3, "abc")) + encode(Figures(b"octets")) + encode(Failed(["a problem"])),
)
TARGETS = (
    Target(
        "worker messages",
        attempt_messages,
        _MESSAGES,
        (
            b"\0\0\0\x10\0\0\0\0",
            b"\xff\xff\xff\xff",
            b'{"kind":"',
            b"Commit",
            b'"number":',
            b"null",
            b"[" * 1100,
            b'"id":1',
            b"}",
            b'"body":1',
        ),
    ),
    Target(
        "dns answers",
        attempt_answer,
        (
            _answer(
                _record(b"a.test", dns.Record_A("192.0.2.1")),
                _record(b"a.test", dns.Record_AAAA("2001:db8::1")),
            ),
            _answer(
                _record(b"a.test", dns.Record_CNAME(b"b.test")), _record(b"b.test", dns.Record_A("192.0.2.2"))
            ),
            _answer(
                _record(b"a.test", dns.Record_CNAME(b"a.test")), _record(b"a.test", dns.Record_TXT(b"x"))
            ),
            _answer(),
        ),
        (
            b"\xc0\x0c",
            b"\x00",
            b"\x3f",
            b"\x40",
            b"\x00\x01\x00\x01",
            b"\x00\x1c\x00\x01",
            b"\x00\x05\x00\x01",
            b"\x01a\x04test\x00",
            b"\xff\xff",
            b"\x00\x04",
            b"\x03a.b",
        ),
    ),
    Target(
        "hosts files",
        attempt_hosts_file,
        (
            b"127.0.0.1 localhost\n::1 a.test A # x\n",
            b"nameserver 192.0.2.1\nsearch a\nnameserver fe80::1%eth0\n",
        ),
        (b"\n", b"#", b" ", b"\t", b"nameserver ", b"127.0.0.1", b"::1", b".", b"\xe2\x80\xa8", b"\x00"),
    ),
    Target(
        "explain calls",
        attempt_explain,
        (
            b'{"method": "GET", "url": "http://a.example.test/api/x?n=2", "headers": {"x-a": "1", "b": ["c", "d"]}}',
            b'{"url": "/api/b/?n=x", "headers": [["host", "a.example.test"]]}',
            b'{"url": "http://a.example.test/api/c"}',
            b"method=GET&url=http://a.example.test/api/c&header=x-a: 1&header=Host: b",
        ),
        (
            b'"method":',
            b'"url":',
            b'"headers":',
            b"{",
            b"[",
            b"null",
            b"\\u00e9",
            b"\\n",
            b"\xc3\xa9",
            b"http://[",
            b"]",
            b"\\u20ac",
            b"//",
            b"?",
            b"#",
            b"&url=",
            b"&header=",
            b"\xff",
            b":",
            b"%ff",
            b"/..",
            b"@",
            b"\\u2100",
        ),
    ),
)
