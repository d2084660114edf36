"""An upstream made ready for exchanges: its settings flattened, its balancer, its retry budget, its targets' places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from apigateway.config.model import Upstream
from apigateway.errors import Problem
from apigateway.flow.balancing import Balancer, target_name
from apigateway.flow.hash_key import CompileText
from apigateway.flow.members import is_service, members_of, names_of, public_name, service_name
from apigateway.flow.mirror import Mirror, MirrorState
from apigateway.flow.retrying import RetryBudget
from apigateway.flow.sticky import SecretTooShort
from apigateway.flow.target_state import TargetState, TargetStates
from apigateway.ports.interfaces import IRandom, ServiceRecord


@dataclass(frozen=True, slots=True)
class TargetPlace:
    """Where a target is. hostname: a name or an IP, without brackets. host: for the Host field (the port left out
    where it is the scheme's own). prefix: path put in front of every request target, without a trailing slash.
    server_name: what its certificate has to name, unless the settings say otherwise."""

    hostname: str
    port: int
    secure: bool
    host: bytes
    prefix: bytes
    server_name: str


def place_of(url: str) -> TargetPlace:
    """The place that a target's url names; ValueError where it names none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https url: {url!r}")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if port == (443 if secure else 80) else f"{name}:{port}"
    prefix = parts.path.rstrip("/").encode("ascii")
    return TargetPlace(parts.hostname, port, secure, host.encode("ascii"), prefix, parts.hostname)


class CompiledUpstream:
    """What the machine asks of an upstream; one per revision, around states that outlive it.

    host_name: the name sent as Host where the settings give one, else b"". retry_statuses: reasons to try again.
    connectors: by state, whatever opens connections to it (the dataplane's own business). keep_most: octets of a
    request body that are kept, to be sent again or copied. mirror, sticky: None where there is none.
    """

    __slots__ = ("balancer", "budget", "connectors", "forwarded", "host_name", "keep_most", "mirror", "name",
                 "places", "preserve_host", "retry_statuses", "settings", "sticky", "connect_timeout",
                 "response_timeout", "idle_timeout", "total_timeout")

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
        self.places: dict[TargetState, TargetPlace] = {
            names[target_name(target)]: place_of(target.url)
            for target in settings.targets if not is_service(target)
        }
        self.connectors: dict[TargetState, object] = {}
        self.sticky = balancer.sticky
        self.mirror: Mirror | None = None
        self.keep_most = settings.retry.buffer

    def expand(self, number: int, records: Sequence[ServiceRecord]) -> tuple[list[TargetState], list[TargetState]]:
        """The target of this number stands for a service that is at these places now. Returns those that are new, for
        which a connector has to be put in, before anything else happens; and those that are not there any more."""
        target, balancer = self.settings.targets[number], self.balancer
        name = public_name(service_name(target)).encode("ascii")
        before = set(balancer.states)
        taken = names_of(self.settings.targets) | {
            state.name for state in before if state.label != target_name(target)
        }
        balancer.expand(number, members_of(target, records, taken))
        new = [state for state in balancer.states if state not in before]
        for state in new:
            place = place_of(state.url)
            self.places[state] = replace(place, host=name, server_name=name.decode("ascii"))
        return new, [state for state in before if state not in balancer.states]

    def forget(self, state: TargetState) -> None:
        """A place that is not there any more, and on which nothing runs."""
        self.places.pop(state, None)
        self.connectors.pop(state, None)
        self.balancer.forget(state)


def _with_mirror(upstream: CompiledUpstream, states: TargetStates) -> CompiledUpstream:
    """Copies are sent by an upstream of their own: the same targets and connections, without retries, sessions, and
    copies of copies."""
    settings = upstream.settings
    if any(target.role == "mirror" for target in settings.targets):
        once = settings.model_copy(update={"retry": settings.retry.model_copy(update={"attempts": 1, "retry_on": ()})})
        copies = CompiledUpstream(once, upstream.balancer, RetryBudget())
        copies.places, copies.connectors, copies.sticky = upstream.places, upstream.connectors, None
        upstream.mirror = Mirror(settings.mirror, copies, states.beside(settings.name, MirrorState))
        upstream.keep_most = max(settings.retry.buffer, settings.mirror.buffer)
    return upstream


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
            budget = budgets.setdefault(settings.name, RetryBudget())
            made[settings.name] = _with_mirror(CompiledUpstream(settings, balancer, budget), states)
        except SecretTooShort as error:
            problems.append(Problem(f"/upstreams/{number}/sticky/{error.setting}", str(error)))
        except ValueError as error:
            problems.append(Problem(f"/upstreams/{number}", str(error)))
    return made, problems
