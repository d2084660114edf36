"""Process settings: what belongs to one machine, and is never pushed by a manager."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from apigateway.config.fields import (
    Address,
    CertificateFiles,
    Duration,
    FileOrFolderPath,
    FilePath,
    FolderPath,
    LogPath,
    Name,
    OutputPath,
    Settings,
    Sha256,
    Size,
    Truth,
    Variable,
    Whole,
)
from apigateway.config.state_model import State, StateOrUrl

MOST_WORKERS = 256


def parse_workers(value: object) -> int | str:
    """A number of workers, or "auto". Raises ValueError."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS):
        return value
    raise ValueError(f'expected a number from 1 to {MOST_WORKERS}, or "auto"')


Workers = Annotated[
    int | Literal["auto"],
    BeforeValidator(parse_workers),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto", "type": "string"}]}
    ),
]


class ListenerLimits(Settings):
    """What a client of a listener may send, and how long it may take."""

    header_timeout: Duration = Field(default=10.0, description="From the first octet of a head to its end.")
    idle_timeout: Duration = Field(default=75.0, description="Between exchanges on a kept connection.")
    body_timeout: Duration = Field(
        default=60.0, description="Between two reads of a request, or two writes of a response."
    )
    max_head: Size = Field(default=32 * 1024, description="Request line and fields together.")
    max_field: Size = Field(default=16 * 1024, description="One field line.")
    max_fields: Whole = Field(default=100, ge=1, le=10_000, description="Field lines of a head.")
    max_target: Size = Field(default=8 * 1024, description="The request target.")
    max_trailers: Size = Field(default=8 * 1024, description="Trailer fields together.")
    max_body: Size | None = Field(
        default=None, description="A request body, whatever the route; none: no limit."
    )


class ClientAuthentication(Settings):
    """Whether clients of a listener show a certificate; one rule for all of its names."""

    mode: Literal["none", "request", "require"] = Field(
        default="none",
        description="request: asked for, and checked where shown; require: no handshake without.",
    )
    ca: FilePath | None = Field(default=None, description="Path of the CAs that may have signed it, PEM.")
    crl: FilePath | None = Field(default=None, description="Path of their revocation list, PEM.")


class ListenerTls(Settings):
    """TLS of a listener."""

    certificates: tuple[CertificateFiles, ...] = Field(
        default=(), description="The first is the default one."
    )
    strict_sni: Truth = Field(
        default=False, description="Refuse the handshake for a name no certificate covers."
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="The oldest version of TLS that is spoken."
    )
    client_auth: ClientAuthentication = Field(
        default=ClientAuthentication(), description="Whether clients show a certificate."
    )
    check_files: Duration = Field(default=30.0, description="How often files are looked at for a renewal.")


class ProxyProtocol(Settings):
    """Whose connections begin with a header of the PROXY protocol, which names the client."""

    trusted: tuple[str, ...] = Field(
        min_length=1,
        description="Peers, as addresses or networks, that have to send it (version 1 or 2); all others are clients.",
    )
    timeout: Duration = Field(default=5.0, description="From the connection to the end of its header.")


class Listener(Settings):
    """An address that clients connect to."""

    name: Name = Field(description="Shown in logs and metrics.")
    address: Address = Field(description='"host:port", "[v6]:port" or "unix:/path".')
    limits: ListenerLimits = Field(
        default=ListenerLimits(), description="What a client may send, and in what time."
    )
    tls: ListenerTls | None = Field(default=None, description="Null: plain HTTP.")
    proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="Null: every peer is a client, and a header is a bad request."
    )


class ManagementToken(Settings):
    """Who may call the management API."""

    name: Name = Field(description="Shown in logs.")
    sha256: Sha256 = Field(description="Hex of SHA-256 of the token (`apigateway hash-key`).")


class Management(Settings):
    """Where a worker answers its operators."""

    address: Address = Field(default="127.0.0.1:8001", description="Loopback unless said otherwise.")
    tokens: tuple[ManagementToken, ...] = Field(
        default=(), description="Who may call; none: only /livez, /readyz and /metrics are answered."
    )


class References(Settings):
    """Where secrets written as ${env:NAME} and ${file:PATH} may come from."""

    env: tuple[Variable, ...] = Field(
        default=(), description="Names of environment variables that may be read."
    )
    files: tuple[FileOrFolderPath, ...] = Field(
        default=(), description="Files, or folders whose files may be read."
    )


class Logs(Settings):
    """Where log lines go: a path, "-" for standard output, or "off"."""

    access: LogPath = Field(default="-", description="A line of JSON for every exchange.")
    error: LogPath = Field(default="-", description="What operators should know.")
    hide: tuple[str, ...] = Field(
        default=(), description="Names of query pairs whose values the access log writes as ***."
    )


class Resolver(Settings):
    """Who resolves the names of targets."""

    servers: tuple[str, ...] = Field(
        default=(), description='"address" or "address:port"; none: the system\'s.'
    )
    max_stale: Duration = Field(
        default=300.0, description="How long the last good ones serve while nobody answers."
    )


class Drain(Settings):
    """How a worker ends."""

    notice: Duration = Field(
        default=2.0, description="Not ready, but still accepting, so that balancers notice."
    )
    timeout: Duration = Field(default=30.0, description="What still runs after this is cut off.")


class ProcessSettings(Settings):
    """What belongs to this machine; never pushed by a manager."""

    listeners: tuple[Listener, ...] = Field(min_length=1, description="Where clients connect.")
    management: Management | None = Field(default=None, description="None: no management listener.")
    state: StateOrUrl = Field(
        default=State(), description="Where what workers share is kept.", json_schema_extra={"default": "memory:"}
    )
    workers: Workers = Field(
        default=1, description="Processes that carry traffic; auto: one for each processor this one may use."
    )
    data_dir: OutputPath | None = Field(
        default="data", description="Keeps the last good revision; null: nothing."
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Peers whose forwarding fields are believed."
    )
    trusted_fields: Literal["x-forwarded", "rfc7239"] = Field(
        default="x-forwarded",
        description="Which fields those proxies write; those of the other kind are the client's, and dropped.",
    )
    policy_paths: tuple[FolderPath, ...] = Field(
        default=(), description="Folders whose *.py files are policies."
    )
    references: References = Field(default=References(), description="Where secrets may come from.")
    logs: Logs = Field(default=Logs(), description="Where log lines go.")
    resolver: Resolver = Field(default=Resolver(), description="Who resolves the names of targets.")
    drain: Drain = Field(default=Drain(), description="How a worker ends.")
    watch: Truth = Field(default=False, description="Reload when this file changes.")
