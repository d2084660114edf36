"""How a policy file declares what it is: its kind, and the examples that are its tests and its documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from apigateway.flow.exchange import Slot

Place = Literal["request", "response", "error"]


@dataclass(frozen=True, slots=True)
class BodyNeed:
    """What a kind wants of a body.

    mode: "none", "stream" (chunk hook) or "buffer" (whole, at most `max` octets; a larger request is answered 413,
    a larger response 502). edits: a streaming kind may change the octets, so that their announced length is void.
    """

    mode: Literal["none", "stream", "buffer"] = "none"
    max: int = 0
    edits: bool = True


NONE = BodyNeed()
STREAM = BodyNeed("stream")
WATCH = BodyNeed("stream", edits=False)


def buffer(max_octets: int) -> BodyNeed:
    """The whole body, at most so many octets."""
    return BodyNeed("buffer", max_octets)


Need = BodyNeed | Callable[[Any], BodyNeed]


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an example and what has to come of it; None or empty: not looked at.

    fields, sent_fields: field name to value, of the answer and of what the upstream got (None: must be absent; of a
    repeated field the lines, separated by a newline).
    upstream: (status, field lines, body) that the upstream answers. after: seconds that pass before the call.
    contains: text that the body of the answer holds. sent: whether the upstream is called.
    """

    method: str = "GET"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: str = "203.0.113.9"
    after: float = 0.0
    upstream: tuple[int, tuple[tuple[str, str], ...], bytes] = (200, (), b"upstream")
    status: int | None = None
    fields: Mapping[str, str | None] = field(default_factory=dict)
    contains: str = ""
    sent: bool | None = None
    sent_target: str | None = None
    sent_fields: Mapping[str, str | None] = field(default_factory=dict)
    sent_body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A use of a kind: shown in its reference page, and run as a test.

    settings: what stands under `with:`. consumers: as in a configuration. place: the direction it is placed under.
    then: further steps of the same flow, each as a step of a configuration. before: steps under `request:` that run
    first, such as the one whose fault an error flow is shown. A call that fails to hold fails the test.
    """

    title: str
    settings: Mapping[str, Any]
    calls: tuple[Call, ...]
    consumers: tuple[Mapping[str, Any], ...] = ()
    place: Place = "request"
    then: tuple[Mapping[str, Any], ...] = ()
    before: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of policy, as `kind()` makes it. about: the docstring of its policy class."""

    name: str
    config: type[BaseModel]
    policy: type
    about: str
    guards: bool = False
    requires: tuple[Slot[Any], ...] = ()
    provides: tuple[Slot[Any], ...] = ()
    request_body: Need = NONE
    response_body: Need = NONE
    places: frozenset[str] = frozenset({"request"})
    one_way: bool = False


def kind(
    name: str,
    *,
    config: type[BaseModel],
    policy: type,
    guards: bool = False,
    requires: tuple[Slot[Any], ...] = (),
    provides: tuple[Slot[Any], ...] = (),
    request_body: Need = NONE,
    response_body: Need = NONE,
    places: tuple[Place, ...] = ("request",),
    one_way: bool = False,
) -> Kind:
    """Declare a kind; called once in a policy file, as `KIND = kind(...)`.

    guards: a request must not go on when this step fails, so `on_error: continue` is refused.
    requires, provides: slots read and filled. request_body, response_body: a BodyNeed, or a function of the settings.
    places: where a step of this kind may stand.
    one_way: a step under `request:` runs its request hooks only, where it would run those of the response as well;
    for kinds that do the same to either message and are placed under the one that they are to work on.
    """
    about = inspect.getdoc(policy) or ""
    return Kind(name, config, policy, about, guards, requires, provides, request_body, response_body,
                frozenset(places), one_way)
