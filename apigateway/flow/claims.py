"""Claims of keys: who does something that is to be done once, while it is done and until what came of it is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.python.failure import Failure

from apigateway.flow.kept_answers import KeptAnswer, OctetBudget, answer_octets, claim_octets
from apigateway.flow.services import Services
from apigateway.flow.steps import as_deferred
from apigateway.ports.interfaces import IStateStore, StoreUnavailable
from apigateway.ports.memory_store import MemoryStore
from apigateway.wire.message import Response

# A claim is renewed when a third of its lease is over, so that an attempt may fail.
PARTS = 3


class Claim:
    """A request that is on its way with a key. octets: what stands under the key meanwhile.

    response: the one whose head was taken down. kept: what there is of it, None where it is not to be kept; its body
    comes in `pieces`. whole: nothing of it is missing.
    """

    __slots__ = ("fingerprint", "held", "kept", "key", "octets", "pieces", "response", "store", "timer", "whole")

    def __init__(self, store: IStateStore, key: str, fingerprint: str, token: str) -> None:
        self.store, self.key, self.fingerprint = store, key, fingerprint
        self.octets = claim_octets(fingerprint, token)
        self.response: Response | None = None
        self.kept: KeptAnswer | None = None
        self.pieces: list[bytes] = []
        self.held = 0
        self.whole = False
        self.timer: Any = None

    def take_down(self, piece: bytes, most: int) -> None:
        """A piece of the body; where all of it is more than `most` octets, it is not kept."""
        if self.kept is not None:
            self.held += len(piece)
            self.pieces.append(piece)
            if self.held > most:
                self.drop()

    def drop(self) -> None:
        """This answer is not kept."""
        self.kept, self.pieces = None, []

    @property
    def answer(self) -> bytes:
        """What is kept, as octets."""
        assert self.kept is not None
        return answer_octets(self.kept._replace(body=b"".join(self.pieces)))


class Claims:
    """What becomes of the claims of one step. Where the state does not answer a claim ends by itself.

    own: the memory of this worker, and `budget` what it may hold of answers. failed: called where the state was away.
    """

    def __init__(
        self, services: Services, lease: float, own: MemoryStore, budget: OctetBudget, failed: Callable[[], None]
    ) -> None:
        self._timers, self._events = services.timers, services.events
        self._lease, self._own, self._budget, self._away = lease, own, budget, failed

    def hold(self, claim: Claim) -> None:
        """It was just made: keep it alive."""
        claim.timer = self._timers.call_later(self._lease / PARTS, self._renew, claim)

    def leave(self, claim: Claim) -> None:
        """Keep it alive no more."""
        if claim.timer is not None:
            claim.timer.cancel()
            claim.timer = None

    def free(self, claim: Claim) -> None:
        """Give the key back, where it is still its own."""
        self._tell(lambda: claim.store.swap(claim.key, claim.octets, None))

    def keep(self, claim: Claim, seconds: float) -> None:
        """Put the answer in its place, where it is still its own."""
        octets = claim.answer
        self._tell(lambda: claim.store.swap(claim.key, claim.octets, octets, seconds))
        if claim.store is self._own:
            self._budget.kept(claim.key, len(octets), seconds)

    def _renew(self, claim: Claim) -> None:
        self.hold(claim)
        self._tell(lambda: claim.store.swap(claim.key, claim.octets, claim.octets, self._lease))

    def _tell(self, call: Callable[[], Any]) -> None:
        """Nobody waits for what comes of it."""
        try:
            answer = call()
            if isinstance(answer, Awaitable):
                as_deferred(answer).addErrback(self._failed)
        except Exception:
            self._failed(Failure())

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable):
            self._away()
        else:
            self._events.event("error", "a claim could not be told of", traceback=failure.getTraceback())
