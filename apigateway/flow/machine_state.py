"""The state of an exchange's machine, and what all of its parts share: transitions, waiting, letting go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from apigateway.flow.driver import Attempt, ClientSide, Driver
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import INTERNAL, STEP_TIMEOUT, Fault, let_go
from apigateway.flow.plan import Entry, Plan
from apigateway.flow.steps import NeedResponseBody, StepInfo, as_deferred
from apigateway.flow.upload import Upload

if TYPE_CHECKING:
    from apigateway.flow.breaker import Ticket
    from apigateway.flow.live import LiveRevision
    from apigateway.flow.target_state import TargetState
    from apigateway.flow.upstream import CompiledUpstream

# States. Each exchange goes through them downwards only; SENDING may be entered again for another attempt.
STEPS: Final = 0  # request steps run, or one is waited for, or the body they want is collected
SENDING: Final = 1  # an attempt is open or being opened; no response head was accepted yet
SHAPING: Final = 2  # a response or a Reply is there; response steps run, or one is waited for, or the body is collected
ANSWERING: Final = 3  # the head went to the client; the body follows
FAILING: Final = 4  # a fault is being shaped into an answer
TUNNEL: Final = 5  # after a 101: octets pass both ways, HTTP is over
OVER: Final = 6  # finished, logged, let go

NAMES: Final = ("STEPS", "SENDING", "SHAPING", "ANSWERING", "FAILING", "TUNNEL", "OVER")

NEXT: Final[tuple[frozenset[int], ...]] = (
    frozenset((SENDING, SHAPING, FAILING, OVER)),  # STEPS
    frozenset((SENDING, SHAPING, FAILING, OVER)),  # SENDING
    frozenset((ANSWERING, FAILING, OVER)),  # SHAPING
    frozenset((TUNNEL, OVER)),  # ANSWERING
    frozenset((ANSWERING, OVER)),  # FAILING
    frozenset((OVER,)),  # TUNNEL
    frozenset(),  # OVER
)

# The same as bits: asked four times per exchange.
MOVES: Final = tuple(sum(1 << state for state in states) for states in NEXT)


class MachineState:
    """Fields and the moves they allow.

    reached: index of the last request entry that was called, or their number when all went through.
    upload: None where the request has no body. opening: what cancels the connection that is being
    opened for the attempt. ticket: what the attempt was let in with, where the balancer asks for that.
    more: the attempt tells more of the response before anything else happens.
    hooks, infos: what the current direction walks. held: pieces of the response that cannot be passed on yet.
    """

    # Defaults stand on the class until they are set, as in Exchange.
    state = 0  # STEPS
    reached = -1
    upload: Upload | None = None
    attempt: Attempt | None = None
    opening: Any = None
    upstream: CompiledUpstream | None = None
    target: TargetState | None = None
    ticket: Ticket | None = None
    deadline = 0.0
    tried: list[TargetState] | None = None
    retrying = False
    stale_used = False
    mirrored = False
    extra: Sequence[tuple[bytes, bytes]] | None = None
    waiting: Deferred[Any] | None = None
    timer: Any = None
    hooks: Sequence[Any] = ()
    infos: Sequence[Any] = ()
    resume_at = 0
    held: list[bytes] | None = None
    held_size = 0
    collecting = False
    need: NeedResponseBody | None = None
    response_over = False
    more = False
    response_hooks: Sequence[Entry] = ()
    trailers: Any = None

    def __init__(self, driver: Driver, client: ClientSide, exchange: Exchange, revision: LiveRevision) -> None:
        self.driver = driver
        self.client = client
        self.exchange = exchange
        self.revision = revision
        self.plan: Plan = revision.fallback

    def _to(self, state: int) -> None:
        """Change state; a move the table does not know is a defect and stops the exchange."""
        if not MOVES[self.state] >> state & 1:
            raise RuntimeError(f"exchange {self.exchange.id}: {NAMES[self.state]} -> {NAMES[state]}")
        self.state = state

    # ---- waiting for a hook

    def _wait(self, outcome: Any, info: StepInfo | None, resume: Callable[[Any], None]) -> None:
        """Go on with `resume(result)` when what a hook returned is there: None, a Reply, or an exception."""
        try:
            deferred = as_deferred(outcome)
        except TypeError as error:
            resume(error)
            return
        self.waiting = deferred
        self.more = False
        limit = info.timeout if info is not None else 5.0

        def settled(result: Any) -> None:
            if self.waiting is not deferred:
                return
            self.waiting = None
            self._stop_timer()
            resume(result.value if isinstance(result, Failure) else result)

        def late() -> None:
            self.timer = None
            self.waiting = None
            deferred.cancel()
            # What is not enforced, or may fail, has been told by the cancel, and ends nothing.
            spared = info is not None and (info.shadow or info.lenient)
            resume(None if spared else Fault(STEP_TIMEOUT, private=f"no answer within {limit:g} s"))

        self.timer = self.driver.time_out(limit, late)
        deferred.addBoth(settled)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _stop_waiting(self) -> None:
        """Call off a hook that is waited for."""
        waiting, self.waiting = self.waiting, None
        self._stop_timer()
        if waiting is not None:
            waiting.addErrback(lambda failure: None)
            waiting.cancel()

    # ---- faults from hooks

    def _fault_of(self, error: BaseException, info: StepInfo | None) -> Fault:
        """The Fault for what a hook raised. Any exception that is none becomes INTERNAL: its text is for the log only,
        under an id that the client is told too."""
        if isinstance(error, Fault):
            fault = error
        else:
            incident = self.driver.random.token(6).hex()
            fault = Fault(INTERNAL, private=f"{type(error).__name__}: {error}", members={"incident": incident})
            self.driver.event(
                "error", "a policy failed", exchange=self.exchange.id, incident=incident,
                step=info.place if info else "", traceback=Failure(error).getTraceback(),
            )
        let_go(error)
        if info is not None and not fault.step:
            fault.step = info.name
        return fault

    # ---- letting go of an attempt

    def _drop_attempt(self, result: str) -> None:
        """Give the attempt up, if there is one, and count it as over."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.cancel()
        elif self.opening is not None:
            self.opening.cancel()
            self.opening = None
        self._leave_target(result)

    def _leave_target(self, result: str) -> None:
        """The attempt is over: its target carries one exchange less. Safe to call again."""
        target, self.target = self.target, None
        if self.retrying and self.upstream is not None:
            self.retrying = False
            self.upstream.budget.retry_ended()
        if target is None or self.upstream is None:
            return
        target.ended()
        if self.ticket is not None:
            self.upstream.balancer.traffic.left(target, self.ticket, self.driver.now())
            self.ticket = None
        self.driver.attempted(self.upstream.name, target.label, result)
