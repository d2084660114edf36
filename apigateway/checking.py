"""A configuration file from its text to a draft, checked in every way that needs no socket.

`apigateway check` stops here; a worker goes on from the same draft, so that what was checked is what is deployed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from apigateway.adapters.system import SystemClock, SystemRandom
from apigateway.config import last_good
from apigateway.config.check import check
from apigateway.config.load import Loaded, load_file
from apigateway.config.model import CertificateFiles, Configuration, State, Upstream
from apigateway.config.paths import absolute, check_files
from apigateway.config.references import resolve_secrets
from apigateway.dataplane.certificates import CertificateRefused, load_pair
from apigateway.dataplane.listener_tls import tls_settings
from apigateway.dataplane.sni import SniTable, upstream_context
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.drafting import Draft, Drafter
from apigateway.flow.hidden_routes import hidden_routes
from apigateway.flow.registry import Registry, discover
from apigateway.flow.retrying import RetryBudget
from apigateway.flow.step_checks import check_steps
from apigateway.flow.target_state import TargetStates
from apigateway.flow.template import compile_template
from apigateway.flow.units import UnitMaker
from apigateway.flow.upstream import CompiledUpstream, compile_upstreams
from apigateway.ports.interfaces import IClock, IMetrics, IRandom
from apigateway.ports.memory import NullMetrics


@dataclass(frozen=True)
class Parts:
    """What a draft is built around. A worker gives its own, so that targets keep their states over reloads."""

    clock: IClock = field(default_factory=SystemClock)
    random: IRandom = field(default_factory=SystemRandom)
    metrics: IMetrics = field(default_factory=NullMetrics)
    states: TargetStates = field(default_factory=TargetStates)
    budgets: dict[str, RetryBudget] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """What came of a file. configuration: with absolute paths; None where the file itself is broken.
    problems: all of them, with file and line; warnings among them. state: its settings, with secrets."""

    configuration: Configuration | None
    registry: Registry | None
    draft: Draft | None
    problems: tuple[Problem, ...]
    state: State = field(default_factory=State)

    @property
    def ok(self) -> bool:
        """Whether it may be deployed."""
        return self.draft is not None and all(problem.warning for problem in self.problems)


def check_file(
    path: str, *, strict: bool = False, serving: bool = False, parts: Parts | None = None, last_good_path: str = ""
) -> Checked:
    """Check a file. strict: an unset ${env:} is an error. serving: it is going to be deployed here and now, so it is
    one, too.

    last_good_path: read the last good configuration from there instead. Never raises for what is in a file.
    """
    try:
        if last_good_path:
            configuration = last_good.load(last_good_path)
            return _check(configuration, None, Path(path).parent, strict or serving, parts or Parts())
        loaded = load_file(path)
        base = Path(path).resolve().parent
        configuration = absolute(loaded.configuration, base)
    except ConfigurationRefused as refused:
        return Checked(None, None, None, refused.problems)
    return _check(configuration, loaded, base, strict or serving, parts or Parts())


def check_configuration(configuration: Configuration, base: Path, parts: Parts) -> Checked:
    """Check one that is going to be deployed here, and was read and checked elsewhere; base: the folder of its file."""
    return _check(configuration, None, base, True, parts)


def _check(configuration: Configuration, loaded: Loaded | None, base: Path, strict: bool, parts: Parts) -> Checked:
    of_sense = check(configuration)
    problems = [*of_sense, *check_files(configuration, base)]
    if not any(not problem.warning for problem in problems):
        problems += check_certificates(configuration)
    registry = discover(configuration.policy_paths)
    problems += registry.problems
    draft = draft_of(configuration, registry, base, strict, parts)
    problems += _not_told(draft.problems, of_sense)
    problems += check_steps(configuration, draft.units)
    state, of_state = resolve_secrets(
        configuration.state, configuration.references, base, os.environ, pointer="/state", unset_is_warning=not strict
    )
    problems += of_state
    located = loaded.located(dict.fromkeys(problems)) if loaded is not None else tuple(dict.fromkeys(problems))
    return Checked(configuration, registry, draft, tuple(located), state)


def _not_told(problems: Iterable[Problem], told: Iterable[Problem]) -> list[Problem]:
    """Without the errors at a place, around one or inside of one that has an error already: whatever is constructed
    from a faulty setting fails, too, and says the same in other words."""
    places = [f"{problem.pointer}/" for problem in told if not problem.warning]

    def known(problem: Problem) -> bool:
        own = f"{problem.pointer}/"
        return not problem.warning and any(own.startswith(place) or place.startswith(own) for place in places)

    return [problem for problem in problems if not known(problem)]


def draft_of(configuration: Configuration, registry: Registry, base: Path, strict: bool, parts: Parts) -> Draft:
    """The draft of a configuration, with everything that is wrong with its routes, steps and upstreams."""

    def resolve(model: BaseModel, pointer: str) -> tuple[BaseModel, list[Problem]]:
        resolved, problems = resolve_secrets(
            model, configuration.references, base, os.environ, pointer=pointer, unset_is_warning=not strict
        )
        return resolved, list(problems)

    maker = UnitMaker(registry, parts.metrics, parts.clock, configuration.environment, resolve)
    with_secrets, of_secrets = _with_secrets(configuration.upstreams, resolve)
    upstreams, problems = compiled_upstreams(configuration, with_secrets, parts)
    problems = [*of_secrets, *problems]
    draft = Drafter(configuration, maker, upstreams).draft()
    draft.problems.extend(problems)
    if draft.router is not None and not draft.errors:
        draft.problems.extend(_hidden(draft))
    return draft


def _with_secrets(
    upstreams: Sequence[Upstream], resolve: Callable[[BaseModel, str], tuple[BaseModel, list[Problem]]]
) -> tuple[list[Upstream], list[Problem]]:
    """The upstreams with their secrets in the place of references, and what is wrong with those."""
    made: list[Upstream] = []
    problems: list[Problem] = []
    for number, upstream in enumerate(upstreams):
        if upstream.sticky is not None:
            sticky, wrong = resolve(upstream.sticky, f"/upstreams/{number}/sticky")
            problems += wrong
            upstream = upstream.model_copy(update={"sticky": sticky})
        made.append(upstream)
    return made, problems


def compiled_upstreams(
    configuration: Configuration, upstreams: Sequence[Upstream], parts: Parts
) -> tuple[dict[str, CompiledUpstream], list[Problem]]:
    """The upstreams of a configuration, with their secrets, around the states of these parts."""
    return compile_upstreams(
        upstreams, parts.states, parts.budgets, parts.random,
        lambda source: compile_template(
            "{" + source + "}", clock=parts.clock, environment=configuration.environment
        ).render,
    )


def _hidden(draft: Draft) -> Iterable[Problem]:
    assert draft.router is not None
    pointers = {(plan.api, plan.route): plan.pointer for plan in draft.plans}
    for hidden, by in hidden_routes(draft.router):
        yield Problem(
            pointers.get((hidden.api.name, hidden.route.name), ""),
            f"route {hidden.route.name!r} can never match: route {by.route.name!r} of {by.api.name!r} "
            "takes all it would take",
            warning=True,
        )


def check_certificates(configuration: Configuration) -> list[Problem]:
    """Whether every certificate belongs to its key, and makes a table of each listener."""
    problems: list[Problem] = []
    loaded = {}
    for pointer, pair in _pairs(configuration):
        try:
            loaded[pointer] = load_pair(pair.cert, pair.key)
        except (CertificateRefused, OSError) as error:
            problems.append(Problem(pointer, str(error)))
    if problems:
        return problems
    try:
        state_context(configuration.state)
    except (CertificateRefused, OSError) as error:
        problems.append(Problem("/state/ca", str(error)))
    for number, listener in enumerate(configuration.listeners):
        if listener.tls is None:
            continue
        places = (f"/listeners/{number}/", "/certificates/")
        own = [made for pointer, made in loaded.items() if pointer.startswith(places)]
        try:
            SniTable(own, tls_settings(listener.tls))
        except (CertificateRefused, OSError) as error:
            problems.append(Problem(f"/listeners/{number}/tls", str(error)))
    return problems


def state_context(state: State) -> ssl.SSLContext | None:
    """The TLS context towards a state; None where none is spoken. CertificateRefused or OSError."""
    if not state.where.secure:
        return None
    pair = state.certificate
    context = upstream_context(ca=state.ca, certificate=None if pair is None else load_pair(pair.cert, pair.key))
    context.set_alpn_protocols([])  # those of HTTP
    return context


def _pairs(configuration: Configuration) -> Iterable[tuple[str, CertificateFiles]]:
    if configuration.state.certificate is not None:
        yield "/state/certificate", configuration.state.certificate
    for number, listener in enumerate(configuration.listeners):
        for index, pair in enumerate(listener.tls.certificates if listener.tls else ()):
            yield f"/listeners/{number}/tls/certificates/{index}", pair
    for index, pair in enumerate(configuration.certificates):
        yield f"/certificates/{index}", pair
    for number, upstream in enumerate(configuration.upstreams):
        if upstream.tls.certificate is not None:
            yield f"/upstreams/{number}/tls/certificate", upstream.tls.certificate
