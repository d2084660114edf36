"""What of steps can only be checked beside the rest of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from apigateway.config.model import Configuration
from apigateway.errors import Problem
from apigateway.flow.units import Unit
from apigateway.text import format_duration, nearest

# A step may ask the state up to three times, and waits for each answer a little longer than the state's time-out.
TIMEOUTS_TO_OUTLAST = 4


def check_steps(configuration: Configuration, units: Iterable[Unit]) -> list[Problem]:
    """What is wrong with steps as part of this configuration.

    A policy says after its construction, by attributes that it may leave out: `shares_state` (bool), that it counts or
    keeps something for all workers together; `keeps_quotas` (bool), that it needs a store that outlives restarts;
    `consumers_named`, the consumers that its settings are about.
    """
    problems: list[Problem] = []
    alone = not configuration.state.remote and configuration.workers != 1
    keeps_nothing = not configuration.state.remote and configuration.data_dir is None
    names = [consumer.name for consumer in configuration.consumers]
    for unit in units:
        if alone and getattr(unit.policy, "shares_state", False):
            scope = "its scope to worker, " if "scope" in unit.kind.config.model_fields else ""
            text = (
                f'{unit.kind.name} counts over all workers, and with state "memory:" each has its own: '
                f'set {scope}"state" to a Redis, or "workers" to 1'
            )
            problems.append(Problem(f"{unit.info.pointer}/with", text))
        problems += _too_short_for(configuration, unit)
        if keeps_nothing and getattr(unit.policy, "keeps_quotas", False):
            text = f'{unit.kind.name} has nowhere to keep its counters: set "data_dir", or "state" to a Redis'
            problems.append(Problem(f"{unit.info.pointer}/with", text))
        problems += _unknown_consumers(unit, names)
    return problems


def _too_short_for(configuration: Configuration, unit: Unit) -> Iterator[Problem]:
    """Of a step that would be late before the state is given up: its on_store_failure would never be heard."""
    state, policy = configuration.state, unit.policy
    asks = getattr(policy, "shares_state", False) or getattr(policy, "keeps_quotas", False)
    least = TIMEOUTS_TO_OUTLAST * state.timeout
    if asks and state.remote and unit.info.timeout < least:
        yield Problem(
            f"{unit.info.pointer}/timeout",
            f"{unit.kind.name} may wait for the shared state, whose timeout is {format_duration(state.timeout)}: "
            f"{format_duration(least)} at least, or on_store_failure would come too late",
        )


def _unknown_consumers(unit: Unit, names: list[str]) -> Iterator[Problem]:
    for name in sorted(getattr(unit.policy, "consumers_named", ())):
        if name not in names:
            yield Problem(
                f"{unit.info.pointer}/with", f"there is no consumer {name!r}", hint=nearest(name, names)
            )
