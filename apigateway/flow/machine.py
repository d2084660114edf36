"""The machine of an exchange: from a request head to the end of its answer, without I/O.

The connections call its event methods (`begin`, `request_data`, `request_end`, `client_gone`, and those of Attempting);
it asks for what it needs through the Driver, the ClientSide and the Attempt. It ends with a response or a fault, never
both, exactly once (machine_state.NEXT).
"""

from __future__ import annotations

from typing import Any, Final

from apigateway.body import Body
from apigateway.flow import faults
from apigateway.flow.attempting import Attempting
from apigateway.flow.faults import CLIENT_CLOSED, Fault, refusal_kind
from apigateway.flow.machine_state import ANSWERING, OVER, SENDING, SHAPING, STEPS, TUNNEL
from apigateway.flow.outcome import Reply
from apigateway.flow.runner import run
from apigateway.flow.steps import NeedBody
from apigateway.flow.upload import Upload, standing
from apigateway.flow.upstream import CompiledUpstream
from apigateway.wire.forwarding import last_hop
from apigateway.wire.headers import Headers
from apigateway.wire.message import Refusal

# Methods that a recipient on the way may answer (RFC 9110 7.6.2).
FOR_THE_GATEWAY: Final = frozenset((b"OPTIONS", b"TRACE"))


class Machine(Attempting):
    """The request direction, and the events of the client's connection."""

    def begin(self) -> None:
        """The request head is there: find the route, walk its steps."""
        exchange = self.exchange
        request = exchange.request
        if request.length != 0:
            self.upload = Upload(request.expect_continue)
        self.revision.enter()
        try:
            if request.method in FOR_THE_GATEWAY and (request.target == b"*" or last_hop(request)):
                self._answer_itself()
                return
            self.plan = plan = self.revision.route(exchange)
        except Fault as fault:
            self.fail(fault)
            return
        except Exception as error:
            self.fail(self._fault_of(error, None))
            return
        if plan.request:
            self._walk(0)
        else:
            self.reached = 0
            self._steps_done()

    def _answer_itself(self) -> None:
        """OPTIONS * asks about the server, and Max-Forwards: 0 makes us the last recipient (RFC 9110 7.6.2, 9.3.7).
        TRACE is not echoed: the echo would hand credentials to scripts."""
        self.reached = 0
        if self.exchange.request.method == b"TRACE":
            raise Fault(faults.METHOD_NOT_ALLOWED, headers=((b"allow", b"OPTIONS"),))
        self._reply(Reply(204, ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)))

    def refused(self, refusal: Refusal) -> None:
        """The request broke the protocol: at its head (nothing began yet) or later, in its body."""
        fault = Fault(refusal_kind(refusal.status), public=refusal.detail, private=refusal.section)
        if self.exchange.plan is None and self.state == STEPS and self.reached < 0:
            self.revision.enter()
        self.fail(fault)

    # ---- request steps

    def _walk(self, index: int) -> None:
        index, outcome = run(self.plan.request, self.exchange, index)
        self.reached = index
        if outcome is None:
            self._steps_done()
        else:
            self._walked(index, outcome)

    def _walked(self, index: int, outcome: Any) -> None:
        """A request step had something to say."""
        if outcome is None:
            self._walk(index + 1)
        elif isinstance(outcome, Reply):
            self._reply(outcome)
        elif isinstance(outcome, NeedBody):
            self._buffer(outcome.max, index)
        elif isinstance(outcome, BaseException):
            self.fail(self._fault_of(outcome, self.plan.infos[index]))
        else:
            self._wait(outcome, self.plan.infos[index], lambda result: self._walked(index, result))

    def _buffer(self, most: int, index: int) -> None:
        """Collect the body, then go on with the next entry."""
        upload, request = self.upload, self.exchange.request
        if upload is None and request.body is None:
            request.body = Body(b"", request.headers.get(b"content-type"))
            self._walk(index + 1)
            return
        if upload is None or request.body is not None or (request.length is not None and request.length > most):
            self._too_large(index)
            return
        upload.buffer_most, self.resume_at = most, index + 1
        self._say_continue()
        self._buffer_more(upload)
        if self.state == STEPS and not upload.complete:
            self.client.resume_request()

    def _buffer_more(self, upload: Upload) -> None:
        if upload.too_large():
            upload.buffer_most = -1
            self._too_large(self.resume_at - 1)
        elif upload.complete:
            upload.buffer_most = -1
            body = Body(upload.whole(), self.exchange.request.headers.get(b"content-type"))
            self.exchange.request.body = body
            self._walk(self.resume_at)

    def _too_large(self, index: int) -> None:
        """The body is larger than the need at `index` allows: 413, unless what needs it may refuse nothing."""
        need: Any = self.plan.request[index]
        if need.spared is None:
            self.fail(Fault(faults.TOO_LARGE, public=f"the body may have {need.max} octets at most"))
        else:
            self.exchange.note(f"shadow.{need.spared.name}", "fault too-large")
            self._walk(need.jump)

    def _steps_done(self) -> None:
        exchange, plan = self.exchange, self.plan
        exchange.steps_done = self.driver.now()
        upstream = plan.upstream
        if upstream is None:
            try:
                upstream = self._chosen()
            except Exception as error:
                self.fail(self._fault_of(error, None))
                return
        if upstream is None:
            self.fail(Fault(faults.UNAVAILABLE, private="no step answered, and the route names no upstream"))
            return
        body = exchange.request.body
        if self.upload is None and body is not None and body.data:
            # A step gave a body to a request that had none.
            self.upload = Upload(False)
            self.upload.complete = True
        if self.upload is not None:
            self._prepare_upload(self.upload, upstream)
        self._send(upstream)

    def _chosen(self) -> CompiledUpstream | None:
        for condition, upstream in self.plan.choices:
            if condition is None or condition.holds(self.exchange):
                return upstream
        return None

    def _prepare_upload(self, upload: Upload, upstream: CompiledUpstream) -> None:
        plan, body = self.plan, self.exchange.request.body
        upload.hooks = standing(plan.request_chunks, self.exchange.gates, self.reached) if plan.request_chunks else ()
        upload.keep_most = upstream.keep_most
        if body is not None:
            # It is in memory already: keep all of it for another attempt, whatever retry.buffer says.
            upload.held, upload.keep_most = ([body.data] if body.data else []), len(body.data)

    # ---- events of the client's connection

    def request_data(self, chunk: bytes) -> None:
        """A piece of the request body."""
        upload = self.upload
        if upload is None or self.state >= OVER:
            return
        self.exchange.octets_in += len(chunk)
        upload.expecting = False
        if self.attempt is not None and self.state in (SENDING, SHAPING, ANSWERING):
            self._pass_upload(chunk)
            return
        if self.state not in (STEPS, SENDING):
            return  # the answer does not hang on it any more
        upload.hold(chunk)
        if upload.buffer_most >= 0:
            self._buffer_more(upload)
        else:
            self.client.pause_request()

    def request_end(self, trailers: Headers | None) -> None:
        """The request body is complete."""
        upload = self.upload
        if upload is None or upload.complete or self.state >= OVER:  # complete: a step gave it, to a request without
            return
        upload.complete = True
        upload.trailers = trailers
        self.exchange.request.trailers = trailers
        if self.attempt is not None and self.state in (SENDING, SHAPING, ANSWERING):
            self._end_upload()
            if upload.blocked:
                self.client.resume_request()  # nothing follows, but the client may leave
        elif upload.buffer_most >= 0 and self.state == STEPS:
            self._buffer_more(upload)

    def client_gone(self) -> None:
        """The client's connection is closed: nobody waits for the rest. The end of a tunnel is told by the tunnel."""
        if self.state in (OVER, TUNNEL):
            return
        fault = Fault(CLIENT_CLOSED)
        self._drop_attempt("cancelled")
        self._stop_waiting()
        self.exchange.fault = self.exchange.fault or fault
        if self.exchange.status == 0 or self.exchange.response is None:
            self.exchange.status = fault.status
        self._finish()

    def late(self) -> None:
        """The client took too long over its request body, or over reading the response."""
        if self.state < ANSWERING:
            self.fail(Fault(faults.REQUEST_TIMEOUT, public="the request body did not come in time"))
        else:
            self.fail(Fault(CLIENT_CLOSED, private="the client stopped reading"))
