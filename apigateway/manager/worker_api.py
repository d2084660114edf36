"""The management API of a worker: a thin skin over IWorker."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, TypeVar
from uuid import uuid4

from klein import Klein
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from apigateway.config.model import ManagementToken
from apigateway.manager.explain_call import ExplainCall, read_body, read_query
from apigateway.manager.guard import Guard
from apigateway.manager.problems import Refused, json_answer, problem_answer
from apigateway.manager.purge_call import read_purge
from apigateway.manager.usage_call import read_usage
from apigateway.ports.interfaces import IEventLog, IWorker, Unavailable

T = TypeVar("T")

OPEN_PATHS = frozenset((b"/livez", b"/readyz", b"/metrics"))
Exposition = Callable[[], bytes | Awaitable[bytes]]


def resource(
    worker: IWorker,
    tokens: Sequence[ManagementToken],
    metrics_exposition: Exposition,
    events: IEventLog | None = None,
) -> IResource:
    """The whole API, to be the root of a site.

    metrics_exposition: text of Prometheus' format 0.0.4, or an awaitable of it.
    events: told of calls that failed by a mistake of ours; the caller gets an id of the line, and never the trace.
    """
    inner: IResource = WorkerApi(worker, metrics_exposition, events).app.resource()
    return Guard(inner, tokens, OPEN_PATHS)


class WorkerApi:
    """The calls. Each answers JSON, but for /metrics; what is refused is problem+json."""

    app = Klein()

    def __init__(self, worker: IWorker, metrics_exposition: Exposition, events: IEventLog | None = None) -> None:
        self._worker = worker
        self._exposition = metrics_exposition
        self._events = events

    @app.route("/livez", methods=["GET"])
    def livez(self, request: Any) -> bytes:
        """200 while the worker runs, else 503."""
        live = self._worker.live()
        return json_answer(request, {"live": live}, 200 if live else 503)

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: Any) -> bytes:
        """200 where traffic should be sent here; else 503, and why not."""
        ready, reason = self._worker.ready()
        return json_answer(request, {"ready": ready, "reason": reason}, 200 if ready else 503)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Any) -> bytes:
        """Everything counted, for Prometheus."""
        text = self._exposition()
        body = await text if isawaitable(text) else text
        request.setHeader(b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode())
        return body

    @app.route("/v1/worker/status", methods=["GET"])
    async def status(self, request: Any) -> bytes:
        """See IWorker.status."""
        return json_answer(request, await _settled(self._worker.status()))

    @app.route("/v1/worker/config", methods=["GET"])
    async def configuration(self, request: Any) -> bytes:
        """See IWorker.configuration."""
        return json_answer(request, await _settled(self._worker.configuration()))

    @app.route("/v1/worker/upstreams", methods=["GET"])
    async def upstreams(self, request: Any) -> bytes:
        """See IWorker.upstreams."""
        return json_answer(request, {"upstreams": await _settled(self._worker.upstreams())})

    @app.route("/v1/worker/reload", methods=["POST"])
    async def reload(self, request: Any) -> bytes:
        """200 where the new revision was taken; 422 with every problem where the running one stays."""
        result = await _to_the_end(self._worker.reload())
        if not result["taken"]:
            raise Refused(422, "the revision was refused; the running one stays as it is", **result)
        return json_answer(request, result)

    @app.route("/v1/worker/upstreams/<upstream>/targets/<target>/drain", methods=["POST"])
    async def drain(self, request: Any, upstream: str, target: str) -> bytes:
        """Choose the target no more; answers the target."""
        return await self._drain(request, upstream, target, draining=True)

    @app.route("/v1/worker/upstreams/<upstream>/targets/<target>/undrain", methods=["POST"])
    async def undrain(self, request: Any, upstream: str, target: str) -> bytes:
        """Choose the target again; answers the target."""
        return await self._drain(request, upstream, target, draining=False)

    @app.route("/v1/worker/quotas", methods=["GET"])
    async def quotas(self, request: Any) -> bytes:
        """See IWorker.quotas."""
        return json_answer(request, {"quotas": await _settled(self._worker.quotas())})

    @app.route("/v1/worker/quotas/usage", methods=["GET"])
    async def quota_usage(self, request: Any) -> bytes:
        """Of ?step=PLACE; one counter with &key=, else those in use, at most &most= (100)."""
        call = read_usage(request)
        try:
            usage = await self._worker.quota_usage(call.step, call.key, call.most)
        except LookupError as missing:
            raise Refused(404, str(missing.args[0])) from None
        return json_answer(request, {"step": call.step, "usage": usage})

    @app.route("/v1/worker/quotas/usage", methods=["DELETE"])
    async def reset_quota(self, request: Any) -> bytes:
        """Forget what was used under ?step=PLACE&key=KEY; answers whether there was anything."""
        call = read_usage(request)
        if not call.key:
            raise Refused(422, "key is needed: whose usage is to be forgotten")
        try:
            reset = await _to_the_end(self._worker.reset_quota(call.step, call.key))
        except LookupError as missing:
            raise Refused(404, str(missing.args[0])) from None
        return json_answer(request, {"step": call.step, "key": call.key, "reset": reset})

    @app.route("/v1/worker/caches", methods=["GET"])
    async def caches(self, request: Any) -> bytes:
        """See IWorker.caches."""
        return json_answer(request, {"caches": await _settled(self._worker.caches())})

    @app.route("/v1/worker/caches", methods=["DELETE"])
    async def purge_caches(self, request: Any) -> bytes:
        """Forget what ?name= holds, or all; &everywhere=true: in all workers of the environment."""
        call = read_purge(request)
        try:
            purged = await _settled(self._worker.purge_caches(call.name, call.everywhere))
        except LookupError:
            raise Refused(404, f"no cache {call.name!r}") from None
        return json_answer(request, {"purged": purged})

    @app.route("/v1/worker/explain", methods=["POST"])
    async def explain(self, request: Any) -> bytes:
        """See IWorker.explain; the request to explain is the body."""
        return await self._explain(request, read_body(request))

    @app.route("/v1/worker/explain", methods=["GET"])
    async def explain_query(self, request: Any) -> bytes:
        """The same, asked by query: ?method=&url=&header=Name:%20value."""
        return await self._explain(request, read_query(request))

    async def _explain(self, request: Any, call: ExplainCall) -> bytes:
        try:
            explained = await _settled(self._worker.explain(call.method, call.url, call.headers))
        except ValueError as error:
            raise Refused(422, f"this is no request: {error}") from None
        return json_answer(request, explained)

    async def _drain(self, request: Any, upstream: str, target: str, *, draining: bool) -> bytes:
        try:
            state = await _settled(self._worker.drain_target(upstream, target, draining))
        except LookupError:
            raise Refused(404, f"no target {target!r} in an upstream {upstream!r}") from None
        return json_answer(request, state)

    # ---- what goes wrong

    @app.handle_errors(Refused)
    def refused(self, request: Any, failure: Failure) -> bytes:
        refused: Any = failure.value
        return problem_answer(request, refused)

    @app.handle_errors(Unavailable)
    def unavailable(self, request: Any, failure: Failure) -> bytes:
        """Nobody is there now (RFC 9110 15.6.4)."""
        request.setHeader(b"retry-after", b"1")
        return problem_answer(request, Refused(503, str(failure.value)))

    @app.handle_errors(HTTPException)
    def unmatched(self, request: Any, failure: Failure) -> bytes:
        """No such path, or not with this method (then with Allow, RFC 9110 15.5.6)."""
        error: Any = failure.value
        if isinstance(error, MethodNotAllowed):
            allowed = sorted(error.valid_methods or ())
            request.setHeader(b"allow", ", ".join(allowed).encode("ascii"))
            return problem_answer(request, Refused(405, f"this takes {' or '.join(allowed)}"))
        return problem_answer(request, Refused(404, "there is nothing here"))

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> bytes:
        reference = uuid4().hex
        trace = "".join(traceback.format_exception(failure.value))
        if self._events is None:
            Logger("apigateway").error("{message} {trace}", message=f"management call {reference} failed", trace=trace)
        else:
            self._events.event("error", "a management call failed", id=reference, trace=trace)
        return problem_answer(request, Refused(500, f"this failed; the error log has more under {reference}"))


async def _settled(value: T | Awaitable[T]) -> T:
    """A value, or what comes of it: one worker says at once what several have to be asked for."""
    return await value if isawaitable(value) else value


def _to_the_end(work: Awaitable[T]) -> Deferred[T]:
    """The result of work that goes on when the caller leaves: Klein cancels what a request waits for."""

    async def wait() -> T:
        return await work

    result: Deferred[T] = Deferred()
    Deferred.fromCoroutine(wait()).chainDeferred(result)
    return result
