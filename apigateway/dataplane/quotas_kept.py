"""The quotas of a revision, as operators see and reset them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import TypeVar

from apigateway.flow.quotas_shown import IKeepsQuotas
from apigateway.flow.units import Unit
from apigateway.ports.interfaces import Facts, IEventLog, StoreUnavailable, Unavailable

T = TypeVar("T")


def quotas_shown(units: Iterable[Unit]) -> list[Facts]:
    """See IWorker.quotas."""
    return [
        {
            "step": unit.info.place, "kind": unit.kind.name, "api": unit.info.api, "route": unit.info.route,
            "rules": unit.policy.rules(),
        }
        for unit in _keepers(units)
    ]


async def usage_shown(units: Iterable[Unit], step: str, key: str, most: int) -> list[Facts]:
    """See IWorker.quota_usage."""
    return await _available(_keeper(units, step).usage(key, most))


async def reset_usage(units: Iterable[Unit], step: str, key: str, events: IEventLog) -> bool:
    """See IWorker.reset_quota."""
    done = await _available(_keeper(units, step).reset(key))
    events.event("info", "quota reset", step=step, key=key, was_used=done)
    return done


def _keepers(units: Iterable[Unit]) -> Iterator[Unit]:
    return (unit for unit in units if IKeepsQuotas.providedBy(unit.policy))


def _keeper(units: Iterable[Unit], step: str) -> IKeepsQuotas:
    for unit in _keepers(units):
        if unit.info.place == step:
            return unit.policy  # type: ignore[no-any-return]
    raise LookupError(f"no step that keeps quotas at {step!r}")


async def _available(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except StoreUnavailable as error:
        raise Unavailable(f"the store of quotas does not answer: {error}") from None
