"""Claims of keys: who does something that is to be done once, while it is done and until what came of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apigateway.flow.kept_answers import KeptAnswer, OctetBudget, answer_octets, claim_octets
from apigateway.flow.services import Services
from apigateway.flow.store_calls import now_or_later, store_calls
from apigateway.ports.interfaces import IStateStore
from apigateway.ports.memory_store import MemoryStore
from apigateway.wire.message import Response

# A claim is renewed when a third of its lease is over, so that an attempt may fail.
PARTS = 3
# Answers that are to be kept, and claims to be given back, when the state is there again.
MOST_OWED = 200


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
    """What becomes of the claims of one step. Where the state cannot be told now, it is as soon as it is there; where
    that takes longer than the lease, a claim ends by itself.

    own: the memory of this worker, and `budget` what it may hold of answers. failed: called where the state was away.
    """

    def __init__(
        self, services: Services, lease: float, own: MemoryStore, budget: OctetBudget, failed: Callable[[], None]
    ) -> None:
        self._timers, self._calls = services.timers, store_calls(services, "claims", MOST_OWED)
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
        self._calls.make(lambda: claim.store.swap(claim.key, claim.octets, None), self._lease, self._away)

    def keep(self, claim: Claim, seconds: float) -> None:
        """Put the answer in its place, unless another request has claimed the key."""
        octets = claim.answer
        self._calls.make(lambda: _keep(claim, octets, seconds), self._lease, self._away)
        if claim.store is self._own:
            self._budget.kept(claim.key, len(octets), seconds)

    def _renew(self, claim: Claim) -> None:
        self.hold(claim)
        self._calls.make(lambda: _renew(claim, self._lease), away=self._away)


async def _renew(claim: Claim, seconds: float) -> None:
    """Or make it anew, where the state has lost it and it is not settled meanwhile."""
    if not await now_or_later(claim.store.swap(claim.key, claim.octets, claim.octets, seconds)) and claim.timer:
        await now_or_later(claim.store.swap(claim.key, None, claim.octets, seconds))


async def _keep(claim: Claim, octets: bytes, seconds: float) -> None:
    """In place of the claim; or of nothing, where the state has lost it."""
    if not await now_or_later(claim.store.swap(claim.key, claim.octets, octets, seconds)):
        await now_or_later(claim.store.swap(claim.key, None, octets, seconds))
