"""A copy of a request on its way to a mirror: an exchange of its own, without steps, retries or anybody who waits."""

from __future__ import annotations

from apigateway.flow.driver import ClientSide, Driver
from apigateway.flow.live import LiveRevision
from apigateway.flow.machine import Machine
from apigateway.flow.machine_state import OVER, SENDING
from apigateway.flow.mirror import MirrorCopy
from apigateway.flow.plan import Plan
from apigateway.flow.upload import Upload


class MirroredExchange(Machine):
    """Carries a copy. From the moment it is made until it is over, its revision is not closed; `client_gone` ends it at
    any time."""

    def __init__(self, driver: Driver, client: ClientSide, copy: MirrorCopy, revision: LiveRevision) -> None:
        super().__init__(driver, client, copy.exchange, revision)
        self.plan = Plan()  # no steps, and no error flow either
        self.copy = copy
        revision.enter()

    def start(self) -> None:
        """Send it."""
        if self.state == OVER:
            return
        copy, exchange, now = self.copy, self.exchange, self.driver.now()
        self.reached = 0
        if copy.target.out_until > now or copy.target not in copy.upstream.places:
            copy.state.unusable += 1  # meanwhile: other copies may have all permits of its breaker
            self.client_gone()
            return
        copy.state.sent += 1
        if exchange.request.length != 0:
            self.upload = upload = Upload(False)
            for piece in copy.body:
                upload.hold(piece)
            upload.keep_most = upload.size
            upload.complete, upload.trailers = True, copy.trailers
        upstream = copy.upstream
        self.upstream = upstream
        self.extra = copy.extra
        exchange.upstream = upstream.name
        exchange.steps_done = now
        self.deadline = now + min(copy.timeout, upstream.total_timeout)
        upstream.budget.began()
        self._to(SENDING)
        self._attempt_at(copy.target, now)
