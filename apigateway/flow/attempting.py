"""Attempts: choose a target, send the request there, and try again where that is safe (RFC 9110 9.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from apigateway.flow import faults
from apigateway.flow.answering import Answering
from apigateway.flow.driver import Attempt, AttemptFailure
from apigateway.flow.faults import Fault
from apigateway.flow.machine_state import ANSWERING, SENDING, SHAPING, TUNNEL
from apigateway.flow.mirror import MARKS, Mirror
from apigateway.flow.retrying import Attempt as Tried
from apigateway.flow.retrying import backoff, may_retry
from apigateway.flow.target_state import TargetState
from apigateway.flow.upload import Upload
from apigateway.flow.upstream import CompiledUpstream
from apigateway.wire.forwarding import forwarded_lines, via
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Response

# How long an upstream may take to say 100 before the gateway says it instead (RFC 9110 10.1.1: bounded).
CONTINUE_AFTER: Final = 1.0

# Hosts that the requests of one connection name, of which the forwarding lines are remembered.
MOST_HOSTS: Final = 8

_VIA: Final = {version: (b"via", via(version)) for version in ("1.0", "1.1", "2")}


class Attempting(Answering):
    """The upstream side of an exchange."""

    def _send(self, upstream: CompiledUpstream) -> None:
        """All request steps are through: go to an upstream."""
        exchange = self.exchange
        self.upstream = upstream
        exchange.upstream = upstream.name
        self.deadline = exchange.steps_done + upstream.total_timeout
        upstream.budget.began()
        if upstream.sticky is not None:
            upstream.sticky.begin(exchange, exchange.steps_done)
        if upstream.mirror is not None and not exchange.connection.trusted:
            exchange.request.withhold(MARKS)
        self._to(SENDING)
        self._attempt(exchange.steps_done, None)

    def _attempt(self, now: float, failure: Fault | None) -> None:
        """Try a target; `failure` is what the client is told where there is none left."""
        upstream = self.upstream
        assert upstream is not None
        try:
            target = upstream.balancer.pick(self.exchange, now, self.tried or ())
        except Exception as error:  # of an expression that is hashed
            self.fail(self._fault_of(error, None))
            return
        if target is None:
            self.fail(failure or self._nobody(upstream))
        else:
            self._attempt_at(target, now)

    def _attempt_at(self, target: TargetState, now: float, fresh: bool = False) -> None:
        upstream, exchange = self.upstream, self.exchange
        assert upstream is not None
        self.target = target
        target.active += 1
        if upstream.balancer.tickets and self.ticket is None:
            self.ticket = upstream.balancer.traffic.let_in(target, now)
        exchange.attempts += 1
        exchange.target = target.name
        exchange.sent = now
        attempt = self.driver.open_upstream(self, upstream, target, fresh)
        if attempt is not None:
            self._sent_to(attempt)

    def _nobody(self, upstream: CompiledUpstream) -> Fault:
        return Fault(
            faults.UNAVAILABLE, public="no target of the upstream can take requests",
            private=f"no usable target in upstream {upstream.name!r}",
            headers=((b"retry-after", b"%d" % upstream.balancer.retry_after(self.driver.now())),),
        )

    # ---- events of the attempt

    def upstream_opened(self, attempt: Attempt) -> None:
        """The connection being opened is there."""
        self.opening = None
        self._sent_to(attempt)

    def _sent_to(self, attempt: Attempt) -> None:
        self.attempt = attempt
        upstream, request, target = self.upstream, self.exchange.request, self.target
        assert upstream is not None and target is not None
        if self.extra is None:
            self.extra = self._extra_lines(upstream)
        upload = self.upload
        place = upstream.places[target]
        host = request.authority if upstream.preserve_host else upstream.host_name or place.host
        path = place.prefix + request.target if place.prefix else request.target
        if upload is None:
            attempt.send_head(request, path, host, self.extra)
            attempt.send_end(None)
            if upstream.mirror is not None:
                self._mirror(upstream.mirror)
        else:
            self._prepare_length(upload)
            attempt.send_head(request, path, host, self.extra)
            self._upload_to(attempt, upload)

    def _extra_lines(self, upstream: CompiledUpstream) -> Sequence[tuple[bytes, bytes]]:
        """Where the request came from, and Via. The same for all requests of a connection that name the same host, as
        long as no proxy in front has something to say."""
        request, connection = self.exchange.request, self.exchange.connection
        if request.forwarded is not None and connection.trusted:
            return self._forwarding(upstream)
        key = (upstream.forwarded, request.authority, request.version)
        lines = connection.forwarding.get(key)
        if lines is None:
            if len(connection.forwarding) > MOST_HOSTS:
                connection.forwarding.clear()
            lines = connection.forwarding[key] = self._forwarding(upstream)
        return lines

    def _forwarding(self, upstream: CompiledUpstream) -> Sequence[tuple[bytes, bytes]]:
        request, connection = self.exchange.request, self.exchange.connection
        lines = forwarded_lines(
            upstream.forwarded, request, connection.peer, connection.trusted, port=connection.local_port
        )
        lines.append(_VIA.get(request.version, _VIA["1.1"]))
        return lines

    def _prepare_length(self, upload: Upload) -> None:
        request = self.exchange.request
        if request.body is not None:
            request.length = len(request.body.data)
            request.expect_continue = False
        if self.plan.edits_request and upload.hooks:
            request.length = None

    def _upload_to(self, attempt: Attempt, upload: Upload) -> None:
        """Send what was kept from an attempt before, then what is held."""
        upload.blocked = False
        if self.ticket is not None and not upload.complete:
            self.ticket.began = inf
        for piece in upload.kept or ():
            attempt.send_data(piece)
        pieces, upload.held, upload.size = upload.held, [], 0
        for piece in pieces:
            if self.attempt is attempt and self.state < TUNNEL:
                self._pass_upload(piece)
        if self.attempt is not attempt:
            return
        if upload.complete or not upload.blocked:
            # When complete, too: who does not read does not see the client leave.
            self.client.resume_request()
        if upload.complete:
            self._end_upload()
        elif upload.expecting:
            self.timer = self.driver.call_later(CONTINUE_AFTER, self._continue_now)

    def _pass_upload(self, chunk: bytes, last: bool = False) -> None:
        upload, attempt = self.upload, self.attempt
        assert upload is not None and attempt is not None
        try:
            chunk = upload.through(self.exchange, chunk, last)
        except Exception as error:
            self.fail(self._fault_of(error, upload.at))
            return
        if chunk:
            attempt.send_data(chunk)

    def _end_upload(self) -> None:
        upload = self.upload
        assert upload is not None
        if upload.hooks and not upload.last_seen:
            self._pass_upload(b"", last=True)
        if upload.trailers is not None:
            upload.trailers.drop(self.exchange.request.withheld)
        if self.attempt is not None:
            self.attempt.send_end(upload.trailers)
            if self.ticket is not None and self.ticket.began == inf:
                self.ticket.began = self.driver.now()
            if self.upstream is not None and self.upstream.mirror is not None:
                self._mirror(self.upstream.mirror)

    def _mirror(self, mirror: Mirror) -> None:
        """The request was sent to its end: let it be copied; once, however many attempts follow."""
        if not self.mirrored and self.attempt is not None:
            self.mirrored = True
            copy = mirror.copy(self.exchange, self.upload, self.extra or (), self.driver.now())
            if copy is not None:
                self.exchange.note("mirrored", copy.target.name)
                self.driver.mirror(copy, self.revision)

    def _continue_now(self) -> None:
        """The upstream said nothing: let the client send its body."""
        self.timer = None
        self._say_continue()

    def _say_continue(self) -> None:
        upload = self.upload
        if upload is not None and upload.expecting:
            upload.expecting = False
            self.client.send_interim(Interim(100, Headers()))

    def interim(self, interim: Interim) -> None:
        """A 1xx from the upstream."""
        if self.state != SENDING:
            return
        if interim.status != 100:
            self.client.send_interim(interim)
        elif self.upload is not None and self.upload.expecting:
            self._stop_timer()
            self._say_continue()

    def response_head(self, response: Response, more: bool = False) -> None:
        """The final head of the attempt's response; more: data or the end follow at once."""
        upstream, target = self.upstream, self.target
        assert upstream is not None and target is not None
        status = response.status
        now = self.driver.now()
        change = upstream.balancer.report(target, status, now, self.ticket)
        if change is not None:
            self.driver.health_changed(change)
        if status in upstream.retry_statuses and self._again(AttemptFailure(
            faults.UNAVAILABLE, str(status), True, f"status {status}")
        ):
            return
        self.exchange.answered = now
        self.more = more and not response.upgrade
        if self.timer is not None:
            self._stop_timer()
        if upstream.sticky is not None:
            upstream.sticky.answer(self.exchange, target, response)
        self._shape_response(response)

    def response_data(self, chunk: bytes) -> None:
        """A piece of the response body."""
        if self.state == ANSWERING:
            self._deliver(chunk)
        elif self.state == SHAPING:
            self._hold(chunk)

    def response_end(self, trailers: Headers | None) -> None:
        """The response is complete; the connection is its pool's again."""
        self.attempt = None
        self.trailers = trailers
        self.response_over = True
        self._leave_target("ok")
        if self.state == ANSWERING:
            self._end_answer()
        elif self.collecting:
            self._collect_more()

    def upstream_failed(self, failure: AttemptFailure) -> None:
        """The attempt is over without a complete response."""
        self.attempt = None
        self.opening = None
        if self.state == SENDING:
            self._failed_before_response(failure)
        else:
            self._leave_target(failure.reason or failure.kind.slug)
            self.fail(Fault(failure.kind, private=failure.text))

    def _failed_before_response(self, failure: AttemptFailure) -> None:
        upstream, target = self.upstream, self.target
        assert upstream is not None and target is not None
        self._stop_timer()
        now = self.driver.now()
        if failure.stale and not self.stale_used and self._may_retry(failure, now):
            # RFC 9112 9.3.1: the kept connection was closed while idle. That says nothing of the target, so it costs no
            # attempt (nor, below, its health); a fresh connection cannot be stale, so this happens once.
            self.stale_used = True
            self.exchange.lost = failure.sent
            ticket, self.ticket = self.ticket, None  # it was let in, and stays so
            self._leave_target("stale")
            self.ticket = ticket
            self.exchange.attempts -= 1
            self._attempt_at(target, now, fresh=True)
            return
        # A retry that had only what others left of the total time says nothing of its target.
        cut_short = self.tried is not None and now >= self.deadline
        if failure.kind.whose == "upstream" and not (cut_short or failure.stale):  # and not a limit of our own
            change = upstream.balancer.report(target, failure.reason or failure.kind.slug, now, self.ticket)
            if change is not None:
                self.driver.health_changed(change)
        if not self._again(failure):
            self._leave_target(failure.reason or failure.kind.slug)
            self.fail(Fault(failure.kind, private=failure.text))

    # ---- trying again

    def _may_retry(self, failure: AttemptFailure, now: float) -> bool:
        upstream, upload = self.upstream, self.upload
        assert upstream is not None
        tried = Tried(
            self.exchange.attempts, failure.reason, sent=failure.sent,
            body_whole=upload is None or upload.replayable, stale=failure.stale,
        )
        return may_retry(upstream.settings.retry, tried, self.exchange.request, upstream.budget, self.deadline - now)

    def _again(self, failure: AttemptFailure) -> bool:
        """Try another time where settings, safety, budget and deadline allow; tells whether it does."""
        upstream, target = self.upstream, self.target
        assert upstream is not None and target is not None
        now = self.driver.now()
        if not self._may_retry(failure, now):
            return False
        if self.tried is None:
            self.tried = []
        self.tried.append(target)
        another = upstream.balancer.another(self.tried, now)
        base = upstream.settings.retry.backoff
        wait = backoff(self.exchange.attempts, base, self.driver.random, another=another)
        if now + wait >= self.deadline:
            return False
        if self.attempt is not None and not another and not upstream.balancer.another((), now):
            return False  # nobody could be asked, and here is an answer
        self._stop_timer()
        self._drop_attempt(failure.reason)
        if failure.sent:
            self.retrying = True
            upstream.budget.retry_began()
        last = Fault(failure.kind, private=failure.text)
        if wait > 0:
            self.timer = self.driver.call_later(wait, lambda: self._attempt_later(last))
        else:
            self._attempt(now, last)
        return True

    def _attempt_later(self, last: Fault) -> None:
        self.timer = None
        self._attempt(self.driver.now(), last)

    # ---- backpressure

    def upload_paused(self) -> None:
        """The upstream takes no more for now."""
        if self.upload is not None:
            self.upload.blocked = True
            if not self.upload.complete:
                self.client.pause_request()

    def upload_resumed(self) -> None:
        """The upstream takes more."""
        if self.upload is not None:
            self.upload.blocked = False
            self.client.resume_request()

    def download_paused(self) -> None:
        """The client takes no more for now."""
        if self.attempt is not None:
            self.attempt.pause_response()

    def download_resumed(self) -> None:
        """The client takes more."""
        if self.attempt is not None:
            self.attempt.resume_response()

