"""The revision: the Apis, upstreams, consumers, certificates and flows that are deployed as one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from apigateway.config.fields import (
    CertificateFiles,
    Duration,
    Method,
    Name,
    Settings,
    Sha256,
    Size,
    Truth,
)
from apigateway.config.upstream_model import Upstream


class Step(Settings):
    """A policy placed in a flow."""

    policy: Name = Field(description="The kind.")
    settings: dict[str, Any] = Field(
        default={},
        validation_alias="with",
        serialization_alias="with",
        description="What the kind's own settings say.",
    )
    name: Name | None = Field(default=None, description="Shown in logs and metrics; the kind, unless named.")
    when: str | None = Field(default=None, description="CEL; the step is passed over where it is false.")
    mode: Literal["enforce", "shadow"] = Field(
        default="enforce", description="shadow: evaluated, logged, never enforced."
    )
    timeout: Duration = Field(default=5.0, description="Of one hook that does not answer at once.")
    on_error: Literal["fail", "continue"] = Field(
        default="fail", description="continue is refused for kinds that guard."
    )


class Flow(Settings):
    """Steps of both directions."""

    request: tuple[Step, ...] = Field(
        default=(), description="Steps on the way to the upstream, in this order."
    )
    response: tuple[Step, ...] = Field(
        default=(), description="Steps on the way to the client, in this order."
    )


class ConditionalFlow(Flow):
    """A flow that is taken where its condition, asked once on the request, holds."""

    name: Name = Field(description="Shown in logs and in explain.")
    when: str = Field(description="CEL.")


class Flows(Settings):
    """What may be attached to the gateway, to an Api and to a route."""

    pre_flow: Flow = Field(default=Flow(), description="Before all else.")
    conditional_flows: tuple[ConditionalFlow, ...] = Field(
        default=(), description="Each one whose condition holds, in this order."
    )
    post_flow: Flow = Field(default=Flow(), description="After all else.")
    error_flow: tuple[Step, ...] = Field(
        default=(), description="Steps of a fault's answer; the innermost one that is named."
    )


class PathRules(Settings):
    """What becomes of paths that two readers could take differently."""

    dot_segments: Literal["refuse", "normalise"] = Field(
        default="refuse", description="What becomes of . and .. in a path."
    )
    encoded_slashes: Literal["keep", "refuse"] = Field(
        default="keep", description="What becomes of %2F in a path."
    )
    empty_segments: Literal["keep", "refuse", "merge"] = Field(
        default="refuse", description="What becomes of // in a path."
    )


class Match(Settings):
    """Which requests a route takes. Give path or path_prefix."""

    methods: tuple[Method, ...] = Field(default=(), description="None: any.")
    path: str | None = Field(
        default=None, description='Exact, relative to base_path; "{id}" one segment, "{rest*}" the tail.'
    )
    path_prefix: str | None = Field(default=None, description="By whole segments, relative to base_path.")
    headers: dict[str, str] = Field(default={}, description='Name to value; "*" asks for presence only.')
    query: dict[str, str] = Field(default={}, description='Name to value; "*" asks for presence only.')
    when: str | None = Field(default=None, description="CEL.")


class UpstreamChoice(Settings):
    """An upstream under a condition, asked after the post-flow request steps; the first to hold is taken."""

    upstream: Name = Field(description="Its name.")
    when: str | None = Field(default=None, description="CEL; none: always.")


def _form_of_choice(value: object) -> str | None:
    return "name" if isinstance(value, str) else "list" if isinstance(value, list | tuple) else None


Choice = Annotated[
    Annotated[Name, Tag("name")] | Annotated[tuple[UpstreamChoice, ...], Field(min_length=1), Tag("list")],
    Discriminator(
        _form_of_choice,
        custom_error_type="choice",
        custom_error_message="expected the name of an upstream, or a list of {when, upstream}",
    ),
]


class Route(Flows):
    """Which requests, through which steps, to which upstream."""

    name: Name = Field(description="Shown in logs and metrics.")
    match: Match = Field(default=Match(path_prefix="/"), description="Which requests it takes.")
    upstream: Choice | None = Field(default=None, description="None: a step of the route has to answer.")
    stream: Truth = Field(default=False, description="SSE, WebSocket, large bodies: no step may buffer.")
    max_buffer: Size = Field(default=1024 * 1024, description="What an expression over the body may buffer.")


class Versioning(Settings):
    """Where a request says which version it wants."""

    source: Literal["path", "header", "query", "media-type"] = Field(
        default="path",
        validation_alias="from",
        serialization_alias="from",
        description="Where the version is.",
    )
    name: str = Field(default="version", description="Of the header, query pair or media-type parameter.")
    default: Truth = Field(default=False, description="Also takes requests that name no version.")


class Api(Flows):
    """Routes under one base path."""

    name: Name = Field(description="Shown in logs and metrics.")
    base_path: str = Field(default="/", description="What the paths of its routes are below.")
    strip_base_path: Truth = Field(
        default=False, description="Take base_path off before the request is sent on."
    )
    hosts: tuple[str, ...] = Field(
        default=(), description='"api.example.test" or "*.example.test"; none: any.'
    )
    api_version: Name | None = Field(default=None, description="The version that this Api is.")
    versioning: Versioning | None = Field(
        default=None, description="How requests choose among versions; null: they do not."
    )
    deprecated: str | None = Field(
        default=None, description="Date of deprecation (RFC 3339): answers say so (RFC 9745)."
    )
    sunset: str | None = Field(
        default=None, description="Date of its end (RFC 3339): answers say so (RFC 8594)."
    )
    routes: tuple[Route, ...] = Field(min_length=1, description="Their order decides nothing.")


class ApiKey(Settings):
    """A key of a consumer, as its hash."""

    sha256: Sha256 = Field(description="Hex of SHA-256 of the key's UTF-8.")
    expires: str | None = Field(default=None, description="RFC 3339; refused from then on.")


class Consumer(Settings):
    """Who calls an API."""

    name: Name = Field(description="Shown in logs and metrics.")
    api_keys: tuple[ApiKey, ...] = Field(
        default=(), description="Several, so that one can be replaced without a gap."
    )
    roles: tuple[str, ...] = Field(default=(), description="What role checks ask for.")
    scopes: tuple[str, ...] = Field(default=(), description="What scope checks ask for.")


class RevisionSettings(Flows):
    """What is deployed as one: Apis, upstreams, consumers, certificates, flows of the whole gateway."""

    paths: PathRules = Field(default=PathRules(), description="What becomes of ambiguous paths.")
    upstreams: tuple[Upstream, ...] = Field(default=(), description="Pools of targets.")
    apis: tuple[Api, ...] = Field(default=(), description="What is offered.")
    consumers: tuple[Consumer, ...] = Field(default=(), description="Who calls.")
    certificates: tuple[CertificateFiles, ...] = Field(default=(), description="For every listener with TLS.")
