"""A worker's management API over real sockets, in front of a worker that does as it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
import pytest_twisted
import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from apigateway.config.model import ManagementToken
from apigateway.manager.guard import LARGEST_BODY
from apigateway.manager.site import ManagementSite
from apigateway.manager.worker_api import resource
from apigateway.ports.interfaces import IWorker, Unavailable
from apigateway.ports.memory import ListedEvents
from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint

TOKEN = "correct horse"


def token(text: str, name: str = "ops") -> ManagementToken:
    return ManagementToken(name=name, sha256=hashlib.sha256(text.encode()).hexdigest())


@implementer(IWorker)
class ToldWorker:
    """A worker whose answers are its attributes, and which notes what it was asked."""

    def __init__(self) -> None:
        self.is_live = True
        self.is_ready = (True, "")
        self.reloaded: Any = succeed({"taken": True, "digest": "abc", "problems": []})
        self.asked: list[Any] = []

    def live(self) -> bool:
        return self.is_live

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    def status(self) -> dict[str, Any]:
        return {"digest": "abc", "uptime": 1.5}

    def configuration(self) -> dict[str, Any]:
        return {"upstreams": [{"name": "pool"}]}

    def upstreams(self) -> list[dict[str, Any]]:
        return [{"name": "pool", "targets": [{"name": "127.0.0.1:9001", "healthy": True}]}]

    def reload(self) -> Deferred[dict[str, Any]]:
        self.asked.append("reload")
        return self.reloaded  # type: ignore[no-any-return]

    def drain_target(self, upstream: str, target: str, draining: bool) -> dict[str, Any]:
        if (upstream, target) != ("pool", "127.0.0.1:9001"):
            raise KeyError(target)
        self.asked.append((upstream, target, draining))
        return {"name": target, "draining": draining}

    def quotas(self) -> list[dict[str, Any]]:
        return [{"step": "api/shop/quota", "rules": [{"name": "day", "limit": 5}]}]

    async def quota_usage(self, step: str, key: str, most: int) -> list[dict[str, Any]]:
        self.asked.append((step, key, most))
        return [{"key": key or "day/c:acme", "used": 3}] if self._kept(step) else []

    async def reset_quota(self, step: str, key: str) -> bool:
        self.asked.append(("reset", step, key))
        return self._kept(step)

    def _kept(self, step: str) -> bool:
        if step == "away":
            raise Unavailable("the store of quotas does not answer")
        if step != "api/shop/quota":
            raise LookupError(f"no step that keeps quotas at {step!r}")
        return True

    def caches(self) -> list[dict[str, Any]]:
        return [{"name": "expressions", "entries": 3, "hits": 2}]

    def purge_caches(self, name: str, everywhere: bool) -> int:
        if name not in ("", "expressions"):
            raise LookupError(name)
        self.asked.append(("purge", name, everywhere))
        return 3

    def explain(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        self.asked.append((method, url, tuple(headers)))
        if url == "boom":
            raise RuntimeError("secret inside")
        return {"route": "read"}


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.body = body
        self._headers = headers

    def header(self, name: str) -> str | None:
        return (self._headers.getRawHeaders(name) or [None])[0]  # type: ignore[no-any-return]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Api:
    """The API of a told worker, listening on the loopback."""

    def __init__(self, tokens: Sequence[ManagementToken] = (token("other", "first"), token(TOKEN))) -> None:
        self.worker = ToldWorker()
        self.events = ListedEvents()
        self.exposition: Any = lambda: b"a_metric 1.0\n"
        root = resource(self.worker, tokens, lambda: self.exposition(), self.events)
        self._site = ManagementSite(root)
        self.port = 0

    async def listen(self) -> Api:
        self._port: Any = await NativeServerEndpoint(reactor, ("127.0.0.1", 0)).listen(self._site)
        self.port = self._port.getHost().port
        return self

    async def call(self, method: str, path: str, *, shown: str | None = f"Bearer {TOKEN}", **more: Any) -> Answer:
        headers = {} if shown is None else {"Authorization": shown}
        response = await treq.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=headers, persistent=False, **more
        )
        return Answer(response.code, response.headers, await response.content())

    async def close(self) -> None:
        await self._port.stopListening()
        await deferLater(reactor, 0.01)  # the server's ends of the connections see their end


@pytest_twisted.async_yield_fixture
async def api() -> Any:
    served = await Api().listen()
    yield served
    await served.close()


@pytest_twisted.async_yield_fixture
async def open_api() -> Any:
    """One without any token configured."""
    served = await Api(tokens=()).listen()
    yield served
    await served.close()


# ---- what takes no token


@ensureDeferred
async def test_livez(api: Api) -> None:
    assert (await api.call("GET", "/livez", shown=None)).json == {"live": True}
    api.worker.is_live = False
    assert (await api.call("GET", "/livez", shown=None)).status == 503


@ensureDeferred
async def test_readyz_says_why_not(api: Api) -> None:
    ready = await api.call("GET", "/readyz", shown=None)
    assert (ready.status, ready.json) == (200, {"ready": True, "reason": ""})
    api.worker.is_ready = (False, "draining")
    refused = await api.call("GET", "/readyz", shown=None)
    assert (refused.status, refused.json) == (503, {"ready": False, "reason": "draining"})


@pytest.mark.parametrize("text", [b"a_metric 1.0\n", succeed(b"a_metric 1.0\n")])
@ensureDeferred
async def test_metrics(api: Api, text: Any) -> None:
    api.exposition = lambda: text
    answer = await api.call("GET", "/metrics", shown=None)
    assert (answer.status, answer.body) == (200, b"a_metric 1.0\n")
    assert (answer.header("content-type") or "").startswith("text/plain; version=0.0.4")


@ensureDeferred
async def test_a_probe_may_ask_by_head(api: Api) -> None:
    answer = await api.call("HEAD", "/livez", shown=None)
    assert (answer.status, answer.body) == (200, b"")


# ---- tokens


@pytest.mark.parametrize(
    "path", ["/v1/worker/status", "/v1/worker/nothing", "/nothing", "//livez", "/livez/", "/%6civez"]
)
@ensureDeferred
async def test_everything_else_takes_a_token(api: Api, path: str) -> None:
    answer = await api.call("GET", path, shown=None)
    assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer realm="apigateway"')
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json["status"] == 401


@pytest.mark.parametrize("shown", ["Bearer wrong", "Bearer", "Basic Y29ycmVjdCBob3JzZQ==", TOKEN, "Bearer \u00fc"])
@ensureDeferred
async def test_another_token_is_refused(api: Api, shown: str) -> None:
    answer = await api.call("POST", "/v1/worker/reload", shown=shown)
    assert answer.status == 401
    assert (answer.header("www-authenticate") or "").startswith("Bearer")
    assert api.worker.asked == []


@pytest.mark.parametrize("shown", ["Bearer other", f"bearer {TOKEN}", f"BEARER  {TOKEN}"])
@ensureDeferred
async def test_each_token_is_taken(api: Api, shown: str) -> None:
    assert (await api.call("GET", "/v1/worker/status", shown=shown)).status == 200


@ensureDeferred
async def test_a_wrong_token_is_called_invalid(api: Api) -> None:
    answer = await api.call("GET", "/v1/worker/status", shown="Bearer wrong")
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")


@ensureDeferred
async def test_without_a_token_configured_only_probes_are_answered(open_api: Api) -> None:
    answer = await open_api.call("GET", "/v1/worker/status")
    assert (answer.status, "no management token is configured" in answer.json["detail"]) == (403, True)
    assert (await open_api.call("GET", "/readyz", shown=None)).status == 200


# ---- calls


@pytest.mark.parametrize(
    ("path", "body"),
    [("status", {"digest": "abc", "uptime": 1.5}), ("config", {"upstreams": [{"name": "pool"}]}),
     ("upstreams", {"upstreams": [{"name": "pool", "targets": [{"name": "127.0.0.1:9001", "healthy": True}]}]})],
)  # fmt: skip
@ensureDeferred
async def test_what_a_worker_shows(api: Api, path: str, body: Any) -> None:
    answer = await api.call("GET", f"/v1/worker/{path}")
    assert (answer.status, answer.json) == (200, body)
    assert (answer.header("content-type"), answer.header("cache-control")) == ("application/json", "no-store")


@ensureDeferred
async def test_a_reload_that_is_taken(api: Api) -> None:
    answer = await api.call("POST", "/v1/worker/reload")
    assert (answer.status, answer.json["digest"]) == (200, "abc")


@ensureDeferred
async def test_a_reload_that_is_refused_says_every_problem(api: Api) -> None:
    problems = ["gateway.yaml:3: /apis/0: one", "gateway.yaml:9: /apis/1: two"]
    api.worker.reloaded = succeed({"taken": False, "digest": "old", "problems": problems})
    answer = await api.call("POST", "/v1/worker/reload")
    assert (answer.status, answer.header("content-type")) == (422, "application/problem+json")
    assert (answer.json["problems"], answer.json["digest"]) == (problems, "old")


@ensureDeferred
async def test_a_reload_goes_on_when_its_caller_leaves(api: Api) -> None:
    cancelled: list[Any] = []
    api.worker.reloaded = Deferred(cancelled.append)
    protocol = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", api.port), Protocol())
    head = f"POST /v1/worker/reload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    protocol.transport.write(head.encode() + b"Content-Length: 0\r\n\r\n")
    while not api.worker.asked:
        await deferLater(reactor, 0.005)
    protocol.transport.abortConnection()
    await deferLater(reactor, 0.05)
    api.worker.reloaded.callback({"taken": True})
    assert cancelled == []


@ensureDeferred
async def test_steps_with_quotas_are_shown(api: Api) -> None:
    answer = await api.call("GET", "/v1/worker/quotas")
    assert answer.json == {"quotas": [{"step": "api/shop/quota", "rules": [{"name": "day", "limit": 5}]}]}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("step=api/shop/quota", ("api/shop/quota", "", 100)),
        ("step=api%2Fshop%2Fquota&most=7", ("api/shop/quota", "", 7)),
        ("step=api/shop/quota&key=day/c:%C3%A4", ("api/shop/quota", "day/c:ä", 100)),
    ],
)
@ensureDeferred
async def test_usage_of_quotas(api: Api, query: str, asked: tuple[str, str, int]) -> None:
    answer = await api.call("GET", f"/v1/worker/quotas/usage?{query}")
    assert answer.json == {"step": "api/shop/quota", "usage": [{"key": asked[1] or "day/c:acme", "used": 3}]}
    assert api.worker.asked == [asked]


@ensureDeferred
async def test_usage_is_reset(api: Api) -> None:
    answer = await api.call("DELETE", "/v1/worker/quotas/usage?step=api/shop/quota&key=day/c:acme")
    assert (answer.status, answer.json) == (200, {"step": "api/shop/quota", "key": "day/c:acme", "reset": True})
    assert api.worker.asked == [("reset", "api/shop/quota", "day/c:acme")]


@pytest.mark.parametrize(
    ("method", "query", "status", "why"),
    [
        ("GET", "", 422, "step is needed"),
        ("GET", "?step=other", 404, "at 'other'"),
        ("GET", "?step=away", 503, "does not answer"),
        ("GET", "?step=api/shop/quota&most=0", 422, "most is a number"),
        ("GET", "?step=api/shop/quota&most=1001", 422, "most is a number"),
        ("GET", "?step=api/shop/quota&most=%C2%B2", 422, "most is a number"),
        ("GET", "?step=api/shop/quota&kay=x", 422, "unknown: kay"),
        ("DELETE", "?step=api/shop/quota", 422, "key is needed"),
        ("DELETE", "?key=day/c:acme", 422, "step is needed"),
        ("DELETE", "?step=other&key=x", 404, "at 'other'"),
        ("DELETE", "?step=away&key=x", 503, "does not answer"),
        ("POST", "?step=api/shop/quota", 405, "GET"),
    ],
)
@ensureDeferred
async def test_usage_that_is_refused(api: Api, method: str, query: str, status: int, why: str) -> None:
    answer = await api.call(method, f"/v1/worker/quotas/usage{query}")
    assert answer.status == status and why in answer.json["detail"]
    assert answer.header("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize(("verb", "draining"), [("drain", True), ("undrain", False)])
@ensureDeferred
async def test_a_target_is_drained(api: Api, verb: str, draining: bool) -> None:
    answer = await api.call("POST", f"/v1/worker/upstreams/pool/targets/127.0.0.1:9001/{verb}")
    assert (answer.status, answer.json) == (200, {"name": "127.0.0.1:9001", "draining": draining})
    assert api.worker.asked == [("pool", "127.0.0.1:9001", draining)]


@pytest.mark.parametrize("place", ["pool/targets/two", "other/targets/127.0.0.1:9001"])
@ensureDeferred
async def test_a_target_that_is_not_there(api: Api, place: str) -> None:
    answer = await api.call("POST", f"/v1/worker/upstreams/{place}/drain")
    assert (answer.status, answer.json["detail"][:9]) == (404, "no target")


@pytest.mark.parametrize(
    ("body", "asked"),
    [({"url": "http://a.test/x"}, ("GET", "http://a.test/x", ())),
     ({"method": "PUT", "url": "/x", "headers": {"A": "1", "B": ["2", "3"]}},
      ("PUT", "/x", (("A", "1"), ("B", "2"), ("B", "3")))),
     ({"url": "/x", "headers": [["A", "1"], ["A", "2"]]}, ("GET", "/x", (("A", "1"), ("A", "2"))))],
)  # fmt: skip
@ensureDeferred
async def test_explain_by_body(api: Api, body: Any, asked: Any) -> None:
    answer = await api.call("POST", "/v1/worker/explain", data=orjson.dumps(body))
    assert (answer.status, answer.json, api.worker.asked) == (200, {"route": "read"}, [asked])


@ensureDeferred
async def test_explain_by_query(api: Api) -> None:
    query = "method=PUT&url=http%3A%2F%2Fa.test%2Fx%3Fy%3D1&header=A%3A%201&header=B%3A2%3A3"
    assert (await api.call("GET", f"/v1/worker/explain?{query}")).status == 200
    assert api.worker.asked == [("PUT", "http://a.test/x?y=1", (("A", "1"), ("B", "2:3")))]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 422), (b"{}", 422), (b'{"url": 1}', 422), (b'{"url": "/", "methd": "GET"}', 422),
     (b'{"url": "/", "method": ""}', 422), (b'{"url": "/", "headers": {"a": 1}}', 422),
     (b'{"url": "/", "headers": [["a"]]}', 422), (b'{"url": "/", "headers": 7}', 422)],
)  # fmt: skip
@ensureDeferred
async def test_explain_of_nonsense_is_refused(api: Api, body: bytes, status: int) -> None:
    answer = await api.call("POST", "/v1/worker/explain", data=body)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert (await api.call("GET", "/v1/worker/explain")).status == 422
    assert api.worker.asked == []


# ---- what goes wrong


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/worker", "/v1/worker/status/x", "/v1/worker/upstreams/pool"])
@ensureDeferred
async def test_what_is_not_there(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert (answer.status, answer.json["title"]) == (404, "Not Found")
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/v1/worker/reload", "POST"), ("DELETE", "/livez", "GET, HEAD"),
     ("PUT", "/v1/worker/explain", "GET, HEAD, POST")],
)  # fmt: skip
@ensureDeferred
async def test_another_method(api: Api, method: str, path: str, allow: str) -> None:
    answer = await api.call(method, path)
    assert (answer.status, answer.header("allow"), answer.json["status"]) == (405, allow, 405)


@ensureDeferred
async def test_a_mistake_of_ours_is_logged_and_not_shown(api: Api) -> None:
    answer = await api.call("POST", "/v1/worker/explain", data=b'{"url": "boom"}')
    assert (answer.status, answer.header("content-type")) == (500, "application/problem+json")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    ((level, _, fields),) = api.events.events
    assert level == "error"
    assert "RuntimeError: secret inside" in fields["trace"]
    assert fields["id"] in answer.json["detail"]


@ensureDeferred
async def test_a_reload_that_breaks_is_ours(api: Api) -> None:
    api.worker.reloaded = fail(RuntimeError("secret inside"))
    answer = await api.call("POST", "/v1/worker/reload")
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert len(api.events.events) == 1


@ensureDeferred
async def test_a_body_as_large_as_allowed_is_read(api: Api) -> None:
    body = b'{"url": "/"}'.ljust(LARGEST_BODY)
    assert (await api.call("POST", "/v1/worker/explain", data=body)).status == 200


@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 1000000\r\n\r\n", b"Content-Length: 65537\r\n\r\n" + b"x" * 65537,
     b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 3],
    ids=["announced", "sent", "chunked"],
)  # fmt: skip
@ensureDeferred
async def test_a_larger_body_is_refused_while_it_comes(api: Api, framed: bytes) -> None:
    closed: Deferred[bytes] = Deferred()
    # Over the product's own transport: twisted's on uvloop is not told of a reset.
    protocol = await connectProtocol(NativeClientEndpoint(reactor, ("127.0.0.1", api.port)), Collector(closed))
    protocol.transport.write(b"POST /v1/worker/reload HTTP/1.1\r\nHost: a\r\n" + framed)
    assert (await closed).startswith(b"HTTP/1.1 413 ")
    assert api.worker.asked == []


class Collector(Protocol):
    """Hands over what came, once the connection ends."""

    def __init__(self, closed: Deferred[bytes]) -> None:
        self._closed = closed
        self._octets = b""

    def dataReceived(self, data: bytes) -> None:
        self._octets += data

    def connectionLost(self, reason: Any = None) -> None:
        self._closed.callback(self._octets)


# ---- caches


@pytest_twisted.ensureDeferred
async def test_caches_are_shown(api: Api) -> None:
    answer = await api.call("GET", "/v1/worker/caches")
    assert (answer.status, answer.json) == (200, {"caches": [{"name": "expressions", "entries": 3, "hits": 2}]})


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", ("purge", "", False)),
        ("?name=expressions", ("purge", "expressions", False)),
        ("?name=expressions&everywhere=true", ("purge", "expressions", True)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_cache_is_purged_or_all_are(api: Api, query: str, asked: Any) -> None:
    answer = await api.call("DELETE", f"/v1/worker/caches{query}")
    assert (answer.status, answer.json, api.worker.asked) == (200, {"purged": 3}, [asked])


@pytest.mark.parametrize(
    ("query", "status"), [("?name=other", 404), ("?nam=expressions", 422), ("?everywhere=yes", 422)]
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_purged_is_refused(api: Api, query: str, status: int) -> None:
    answer = await api.call("DELETE", f"/v1/worker/caches{query}")
    assert (answer.status, api.worker.asked) == (status, [])
