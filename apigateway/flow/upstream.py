"""An upstream made ready for exchanges: its settings flattened, its balancer, its retry budget, its targets' places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from apigateway.config.model import Upstream
from apigateway.errors import Problem
from apigateway.flow.balancing import Balancer, target_name
from apigateway.flow.hash_key import CompileText
from apigateway.flow.retrying import RetryBudget
from apigateway.flow.target_state import TargetState, TargetStates
from apigateway.ports.interfaces import IRandom


@dataclass(frozen=True, slots=True)
class TargetPlace:
    """Where a target is. hostname: a name or an IP, without brackets. host: for the Host field (the port left out
    where it is the scheme's own). prefix: path put in front of every request target, without a trailing slash."""

    hostname: str
    port: int
    secure: bool
    host: bytes
    prefix: bytes


def place_of(url: str) -> TargetPlace:
    """The place that a target's url names; ValueError where it names none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https url: {url!r}")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if port == (443 if secure else 80) else f"{name}:{port}"
    return TargetPlace(parts.hostname, port, secure, host.encode("ascii"), parts.path.rstrip("/").encode("ascii"))


class CompiledUpstream:
    """What the machine asks of an upstream; one per revision, around states that outlive it.

    host_name: the name sent as Host where the settings give one, else b"". retry_statuses: reasons to try again.
    connectors: by state, whatever opens connections to it (the dataplane's own business).
    """

    __slots__ = ("balancer", "budget", "connectors", "forwarded", "host_name", "name", "places", "preserve_host",
                 "retry_statuses", "settings", "connect_timeout", "response_timeout", "idle_timeout", "total_timeout")

    def __init__(self, settings: Upstream, balancer: Balancer, budget: RetryBudget) -> None:
        self.settings = settings
        self.name = settings.name
        self.balancer = balancer
        self.budget = budget
        timeouts = settings.timeouts
        self.connect_timeout, self.response_timeout = timeouts.connect, timeouts.response
        self.idle_timeout, self.total_timeout = timeouts.idle, timeouts.total
        self.forwarded = settings.forwarded
        self.preserve_host = settings.host == "preserve"
        self.host_name = b"" if settings.host in ("target", "preserve") else settings.host.encode("ascii")
        self.retry_statuses = frozenset(int(reason) for reason in settings.retry.retry_on if reason.isdigit())
        names = {state.name: state for state in balancer.states}
        self.places: Mapping[TargetState, TargetPlace] = {
            names[target_name(target)]: place_of(target.url) for target in settings.targets
        }
        self.connectors: dict[TargetState, object] = {}


def compile_upstreams(
    upstreams: Sequence[Upstream], states: TargetStates, budgets: dict[str, RetryBudget], random: IRandom,
    compile_text: CompileText,
) -> tuple[dict[str, CompiledUpstream], list[Problem]]:
    """Every upstream around states and budgets that outlive it, and what is wrong with those that cannot be made."""
    made: dict[str, CompiledUpstream] = {}
    problems: list[Problem] = []
    for number, settings in enumerate(upstreams):
        try:
            balancer = Balancer(settings, states, random, compile_text)
            made[settings.name] = CompiledUpstream(settings, balancer, budgets.setdefault(settings.name, RetryBudget()))
        except ValueError as error:
            problems.append(Problem(f"/upstreams/{number}", str(error)))
    return made, problems
