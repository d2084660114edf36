"""Whether a policy file keeps the contract, as far as that can be told without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

from apigateway.config.fields import models_in
from apigateway.flow.interfaces import (
    IOnFault,
    IOnLog,
    IOnRequest,
    IOnRequestBody,
    IOnResponse,
    IOnResponseBody,
    IPolicy,
)
from apigateway.flow.kinds import BodyNeed, Example, Kind, Need

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_PLACES = frozenset(("request", "response", "error"))
_HOOKS: dict[str, InterfaceClass] = {
    "on_request": IOnRequest,
    "on_request_chunk": IOnRequestBody,
    "on_response": IOnResponse,
    "on_response_chunk": IOnResponseBody,
    "on_fault": IOnFault,
    "on_log": IOnLog,
}


def faults_of(module: ModuleType) -> Iterator[str]:
    """Everything that is wrong with a policy file, a sentence each."""
    if not (module.__doc__ or "").strip():
        yield "the file has no docstring: say there what the policy is for"
    kind = getattr(module, "KIND", None)
    if not isinstance(kind, Kind):
        yield "the file has no KIND = kind(...)"
        return
    if _NAME.fullmatch(kind.name) is None:
        yield f"a kind is named in lower case with dashes, not {kind.name!r}"
    examples = getattr(module, "EXAMPLES", None)
    if not (isinstance(examples, tuple) and examples and all(isinstance(each, Example) for each in examples)):
        yield "the file has no EXAMPLES, a tuple of Example: they are its tests and its documentation"
    yield from _config_faults(kind.config)
    yield from _policy_faults(kind.policy)
    yield from _need_faults(kind)
    yield from _place_faults(kind)


def _config_faults(config: Any) -> Iterator[str]:
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        yield "config is not a pydantic model"
        return
    for model in _all_models(config):
        if not model.model_config.get("frozen"):
            yield f"{model.__name__} is not frozen: settings do not change while they are served"
        if model.model_config.get("extra") != "forbid":
            yield f'{model.__name__} takes unknown keys: set extra to "forbid", so that slips are seen'
        for name, field in model.model_fields.items():
            if not (field.description or "").strip():
                yield f"{model.__name__}.{name} has no description"


def _all_models(config: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and those inside of it, each once."""
    models = [config]
    for model in models:  # grows while it is walked
        for field in model.model_fields.values():
            models += [each for each in models_in(field.annotation) if each not in models]
    return models


def _policy_faults(policy: Any) -> Iterator[str]:
    if not isinstance(policy, type):
        yield "policy is not a class"
        return
    declared = [interface for interface in (IPolicy, *_HOOKS.values()) if interface.implementedBy(policy)]
    if not declared:
        yield f"{policy.__name__} implements no hook: decorate it with @implementer(IOnRequest) or the like"
        return
    for interface in declared:
        try:
            verifyClass(interface, policy)
        except Invalid as error:
            yield f"{policy.__name__} does not keep its promise: {' '.join(str(error).split())}"
    for name, interface in _HOOKS.items():
        # It would be taken for a hook by whoever reads the file, and never be called.
        if callable(getattr(policy, name, None)) and not interface.implementedBy(policy):
            yield f"{policy.__name__} has {name} but does not declare {interface.__name__}"


def _need_faults(kind: Kind) -> Iterator[str]:
    yield from _need_fault(kind, "request_body", kind.request_body, IOnRequest, IOnRequestBody)
    yield from _need_fault(kind, "response_body", kind.response_body, IOnResponse, IOnResponseBody)


def _need_fault(
    kind: Kind, name: str, need: Need, head: InterfaceClass, chunks: InterfaceClass
) -> Iterator[str]:
    if not isinstance(kind.policy, type):
        return
    streams = chunks.implementedBy(kind.policy)
    if not isinstance(need, BodyNeed):
        if not callable(need):
            yield f"{name} is neither a BodyNeed nor a function of the settings"
        return  # a function of the settings: told when a step is made
    if streams and need.mode != "stream":
        yield f"the policy declares {chunks.__name__}, but {name} is {need.mode!r}, so it is never called"
    if need.mode == "stream" and not streams:
        yield f"{name} streams, but the policy does not declare {chunks.__name__}"
    if need.mode == "buffer" and not head.implementedBy(kind.policy):
        yield f"{name} is buffered, but the policy does not declare {head.__name__}"


def _place_faults(kind: Kind) -> Iterator[str]:
    if not kind.places or not kind.places <= _PLACES:
        yield f"places are request, response and error, not {sorted(kind.places)}"
        return
    if not isinstance(kind.policy, type):
        return
    responds = IOnResponse.implementedBy(kind.policy) or IOnResponseBody.implementedBy(kind.policy)
    if "response" in kind.places and not responds:
        yield "it may be placed under response, but has no hook there"
    if "error" in kind.places and not (
        IOnFault.implementedBy(kind.policy) or IOnResponse.implementedBy(kind.policy)
    ):
        yield "it may be placed in an error flow, but has no hook there"
