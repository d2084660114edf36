"""The response direction: from an upstream's response, a Reply or a Fault to the client, exactly once."""

from __future__ import annotations

from typing import Any

from apigateway.body import Body
from apigateway.flow import faults
from apigateway.flow.faults import Fault, let_go
from apigateway.flow.machine_state import ANSWERING, FAILING, OVER, SHAPING, TUNNEL, MachineState
from apigateway.flow.outcome import Reply
from apigateway.flow.rendering import render
from apigateway.flow.runner import run
from apigateway.flow.steps import NeedResponseBody
from apigateway.flow.upload import standing
from apigateway.wire.headers import Headers
from apigateway.wire.message import Response


class Answering(MachineState):
    """Shapes what goes back. `response_over`: the upstream's response is complete (or it was never its)."""

    # ---- response steps

    def _shape_response(self, response: Response) -> None:
        """A response head was accepted: run the response steps over it."""
        exchange, plan = self.exchange, self.plan
        exchange.response = response
        self._to(SHAPING)
        if plan.response_hooks:
            self.hooks, self.infos = plan.response_hooks, plan.response
            self._shape(0)
        else:
            self._answer()

    def _shape(self, index: int) -> None:
        index, outcome = run(self.hooks, self.exchange, index)
        if outcome is None:
            self._answer()
        else:
            self._shaped(index, outcome)

    def _shaped(self, index: int, outcome: Any) -> None:
        """A response step had something to say."""
        info = self.infos[index].info if index < len(self.infos) else None
        if isinstance(outcome, NeedResponseBody):
            self._collect(outcome, index)
        elif isinstance(outcome, Reply):
            self._replace(outcome)
            self._shape(index + 1)
        elif isinstance(outcome, BaseException):
            self.fail(self._fault_of(outcome, info))
        elif outcome is None:
            self._shape(index + 1)
        else:
            if self.attempt is not None:
                self.attempt.pause_response()
            self._wait(outcome, info, lambda result: self._shape_resumed(index, result))

    def _shape_resumed(self, index: int, result: Any) -> None:
        if self.attempt is not None:
            self.attempt.resume_response()
        self._shaped(index, result)

    def _collect(self, need: NeedResponseBody, index: int) -> None:
        """Collect the response body for the need at `index`, then go on from there."""
        self.collecting, self.need, self.resume_at = True, need, index
        self._collect_more()

    def _collect_more(self) -> None:
        need, response = self.need, self.exchange.response
        assert need is not None and response is not None
        if response.body is not None or self.held_size > need.max:
            self.collecting = False
            if need.spared is None:
                self.fail(Fault(faults.RESPONSE_REFUSED, private=f"response body over {need.max} octets"))
            else:
                self.exchange.note(f"shadow.{need.spared.name}", "fault response-refused")
                self._shape(self.resume_at + 2)
        elif self.response_over:
            self._collected()

    def _hold(self, chunk: bytes) -> None:
        """Put a piece by that comes while the head is still being shaped."""
        if self.held is None:
            self.held = []
        self.held.append(chunk)
        self.held_size += len(chunk)
        if self.collecting:
            self._collect_more()

    def _collected(self) -> None:
        response, pieces = self.exchange.response, self.held or []
        assert response is not None
        self.held, self.held_size, self.collecting = None, 0, False
        response.body = Body(b"".join(pieces), response.headers.get(b"content-type"))
        self._shape(self.resume_at)

    # ---- a Reply

    def _reply(self, reply: Reply) -> None:
        """A request step answers: response steps of what was reached, then the client."""
        self._replace(reply)
        self._to(SHAPING)
        self.infos = standing(self.plan.response, self.exchange.gates, self.reached)
        self.hooks = tuple(entry.hook for entry in self.infos)
        self._shape(0)

    def _replace(self, reply: Reply) -> None:
        self._drop_attempt("replaced")
        self.response_over = True
        self.trailers = None
        self.held, self.held_size, self.collecting = None, 0, False
        self.exchange.response = self._response_of(reply)

    def _response_of(self, reply: Reply) -> Response:
        status = reply.status
        bodiless = self.exchange.request.method == b"HEAD" or status in (204, 304)
        response = Response(status, reply.headers.copy(), bodiless=bodiless)
        response.body = Body(reply.body, reply.headers.get(b"content-type"))
        return response

    # ---- to the client

    def _answer(self) -> None:
        """All steps are through: the head goes out, then what there is of the body."""
        exchange = self.exchange
        response = exchange.response
        assert response is not None
        self._to(ANSWERING)
        plan = self.plan
        if response.status in (204, 304) and not response.bodiless:
            self._without_body(response)
        if plan.response_chunks and not response.bodiless and exchange.fault is None:
            self.response_hooks = standing(plan.response_chunks, exchange.gates, self.reached)
        body = response.body
        if body is not None:
            response.length = None if response.status in (204, 304) else len(body.data)
        if self.response_hooks and plan.edits_response:
            response.length = None
        lines = response.headers.lines
        for name, _ in lines:
            if name == b"date":
                break
        else:
            lines.append((b"date", self.driver.date()))  # RFC 9110 6.6.1, for our own answers and the upstream's
        if plan.additions:
            lines.extend(plan.additions)
        exchange.status = response.status
        self.client.send_head(response, self.more or body is not None or self.response_over)
        if response.upgrade:
            self._tunnel()
        elif body is not None:
            self._deliver_whole(body.data)
        elif self.held is not None:
            self._deliver_held()
        elif self.response_over:
            self._end_answer()

    def _without_body(self, response: Response) -> None:
        """A step made it a response that has no body (RFC 9110 15.3.5, 15.4.5): what there is of one goes nowhere."""
        response.bodiless = self.response_over = True
        self._drop_attempt("replaced")
        self.held = self.trailers = None

    def _deliver_whole(self, data: bytes) -> None:
        response = self.exchange.response
        assert response is not None
        if data and not response.bodiless:
            self._deliver(data, last=True)
        if self.state == ANSWERING:
            self._end_answer()

    def _deliver_held(self) -> None:
        """Pieces that came while a step was waited for."""
        pieces, self.held, self.held_size = self.held or [], None, 0
        for piece in pieces:
            if self.state == ANSWERING:
                self._deliver(piece)
        if self.response_over and self.state == ANSWERING:
            self._end_answer()

    def _deliver(self, chunk: bytes, last: bool = False) -> None:
        if self.response_hooks:
            changed = self._through(chunk, last)
            if changed is None:
                return
            chunk = changed
            if not chunk and self.more and not last:
                self.client.send_data(chunk)  # the head waits for what comes with it, and that is kept back
            self.more = False
        if chunk:
            self.exchange.octets_out += len(chunk)
            self.client.send_data(chunk)

    def _through(self, chunk: bytes, last: bool) -> bytes | None:
        for entry in self.response_hooks:
            try:
                chunk = entry.hook(self.exchange, chunk, last)
            except Exception as error:
                self.fail(self._fault_of(error, entry.info))
                return None
        if last:
            self.response_hooks = ()
        return chunk

    def _end_answer(self) -> None:
        if self.response_hooks:
            self._deliver(b"", last=True)
            if self.state != ANSWERING:
                return
        self.client.send_end(self.trailers)
        self._finish()

    # ---- after a 101

    def _tunnel(self) -> None:
        """The upstream took the upgrade: from here on octets pass both ways."""
        attempt = self.attempt
        assert attempt is not None
        self._to(TUNNEL)
        self.client.join(attempt, self)

    def tunnel_ended(self, octets_in: int, octets_out: int) -> None:
        """Both ends of the tunnel are closed."""
        if self.state == TUNNEL:
            self.exchange.octets_in += octets_in
            self.exchange.octets_out += octets_out
            self.attempt = None
            self._leave_target("ok")
            self._finish()

    # ---- faults

    def fail(self, fault: Fault) -> None:
        """End the exchange with a fault, whatever state it is in; harmless when it is over."""
        let_go(fault)
        if self.state == OVER:
            return
        if self.state == FAILING:
            self._tell(fault)
            self._stop_waiting()
            self._render()
            return
        self._drop_attempt(fault.kind.slug)
        self._stop_waiting()
        self.exchange.fault = fault
        self._tell(fault)
        if self.state in (ANSWERING, TUNNEL):
            self.client.abort()
            self._finish()
        else:
            self._shape_fault(fault)

    def _tell(self, fault: Fault) -> None:
        if fault.kind.whose != "client" or fault.private:
            self.driver.event(
                "error" if fault.kind.whose == "gateway" else "warn", fault.kind.title, exchange=self.exchange.id,
                type=fault.kind.slug, whose=fault.kind.whose, step=fault.step, api=self.exchange.api,
                route=self.exchange.route, upstream=self.exchange.upstream, target=self.exchange.target,
                private=fault.private,
            )

    def _shape_fault(self, fault: Fault) -> None:
        """Draft the answer, show it to the steps reached, then to the innermost error flow."""
        self._to(FAILING)
        exchange, plan = self.exchange, self.plan
        headers = Headers(fault.headers)
        if fault.kind.proxy_status:
            headers.lines.append((b"proxy-status", b"apigateway; error=" + fault.kind.proxy_status.encode("ascii")))
        exchange.response = Response(fault.status, headers, bodiless=exchange.request.method == b"HEAD")
        reached = standing(plan.faults, exchange.gates, self.reached)
        if not reached and not plan.error_flow:
            self._render()
            return
        self.infos = (*reached, *plan.error_flow)
        self.hooks = (
            *((lambda exchange, told=entry.hook: told(exchange, fault)) for entry in reached),
            *(entry.hook for entry in plan.error_flow),
        )
        self._shape_draft(0)

    def _shape_draft(self, index: int) -> None:
        index, outcome = run(self.hooks, self.exchange, index)
        self._drafted(index, outcome)

    def _drafted(self, index: int, outcome: Any) -> None:
        """A hook of the fault direction had something to say; none of them can make things worse."""
        if index >= len(self.hooks):
            self._render()
            return
        info = self.infos[index].info
        if isinstance(outcome, Reply):
            self.exchange.response = self._response_of(outcome)
        elif isinstance(outcome, BaseException):
            self._tell(self._fault_of(outcome, info))
        elif outcome is not None:
            self._wait(outcome, info, lambda result: self._drafted(index, result))
            return
        self._shape_draft(index + 1)

    def _render(self) -> None:
        """The last resort, and the rule: the draft with a body that cannot fail."""
        exchange = self.exchange
        response, fault = exchange.response, exchange.fault
        assert response is not None and fault is not None
        if response.body is None:
            content_type, body = render(fault, exchange)
            response.headers.set(b"content-type", content_type)
            response.body = Body(body, content_type)
        self.response_over = True
        self.trailers = None
        self.held, self.collecting = None, False
        self._answer()

    # ---- the end

    def _finish(self) -> None:
        """Let go of everything and tell those who keep records; exactly once, last."""
        self._to(OVER)
        exchange = self.exchange
        self._drop_attempt("cancelled")
        if self.upstream is not None:
            self.upstream.budget.ended()
        self._stop_waiting()
        exchange.ended = self.driver.now()
        plan = self.plan
        if plan.logs:
            self._run_logs()
        self.driver.finished(exchange)
        self.revision.leave()
        self.client.done(self)

    def _run_logs(self) -> None:
        for entry in standing(self.plan.logs, self.exchange.gates, self.reached):
            try:
                entry.hook(self.exchange)
            except Exception as error:
                self._fault_of(error, entry.info)


