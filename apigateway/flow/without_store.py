"""What a step does while the shared state does not answer: goes on by what this worker knows, lets pass, or refuses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apigateway.config.model import Settings, Truth
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.faults import UNAVAILABLE, Fault
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.ports.interfaces import StoreUnavailable

TOLD: Slot[bytes] = Slot("store-failure", "what X-Store-Failure says")


class StoreFailureSettings(Settings):
    """What to do without the shared state; a part of the settings of every kind that uses it."""

    on_store_failure: Literal["local", "open", "closed"] = Field(
        default="local",
        description="When the shared state cannot be asked: count in this worker alone, let pass, or answer 503.",
    )
    tell_store_failure: Truth = Field(
        default=False, description="Say so in X-Store-Failure on answers (open or local)."
    )


class WithoutStore:
    """The settings of one step, applied. Whatever happens is said in the access log (`store`) and in the metrics.

    tells: `tell` is to be called by the hooks that see the answer.
    """

    def __init__(self, settings: StoreFailureSettings, services: Services) -> None:
        self._mode = settings.on_store_failure
        self.tells = settings.tell_store_failure
        self._metrics = services.metrics
        self._step = services.place.rpartition("/")[2]

    def goes_on(self, exchange: Exchange, error: StoreUnavailable) -> bool:
        """The state could not be asked. True: decide by what this worker knows; False: let the request pass.

        Fault(UNAVAILABLE), with a Retry-After, where it is refused.
        """
        self.note(exchange)
        if self._mode == "closed":
            raise Fault(
                UNAVAILABLE,
                public="Requests cannot be counted at the moment.",
                private=f"the shared state does not answer: {error}",
                headers=((b"retry-after", b"1"),),
            ) from error
        return self._mode == "local"

    def note(self, exchange: Exchange) -> None:
        """Say that it was decided without the state: also where nobody asked it, since what `local` let through before
        is reason enough to refuse."""
        exchange.note("store", self._mode)
        self._metrics.store_failure(self._step, self._mode)
        if self.tells and self._mode != "closed":
            exchange.put(TOLD, self._mode.encode())

    def tell(self, exchange: Exchange) -> None:
        """Say in X-Store-Failure what was done; once, however many steps of an exchange were without the state."""
        told = exchange.take(TOLD)
        if told is not None and exchange.response is not None:
            exchange.response.headers.set(b"x-store-failure", told)


class TellsStoreFailure:
    """The hooks of a policy that says no more of the state on answers than where it was away."""

    _without: WithoutStore

    def on_response(self, exchange: Exchange) -> Outcome:
        """Tell where the shared state was away."""
        self._tell_failure(exchange)
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Tell it on the gateway's own answers, too."""
        self._tell_failure(exchange)
        return None

    def _tell_failure(self, exchange: Exchange) -> None:
        if self._without.tells:
            self._without.tell(exchange)
