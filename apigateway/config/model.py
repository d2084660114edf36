"""The configuration as values: what is allowed, by default what, and what each thing is for.

Two halves: ProcessSettings belong to one machine and are never pushed; RevisionSettings are what a
manager holds, numbers and deploys. A file holds both side by side (Configuration).
Durations are float seconds and sizes int octets once read; in a file they carry their unit.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apigateway.config.fields import (
    COOKIE_NAME,
    METHOD,
    NAME,
    SHA256,
    VARIABLE,
    Address,
    CertificateFiles,
    CookieName,
    Duration,
    FileOrFolderPath,
    FilePath,
    FolderPath,
    LogPath,
    Method,
    Name,
    OutputPath,
    PathMark,
    Percent,
    Secret,
    Settings,
    Sha256,
    Size,
    Status,
    Truth,
    Variable,
    Whole,
)
from apigateway.config.process import (
    ClientAuthentication,
    Drain,
    Listener,
    ListenerLimits,
    ListenerTls,
    Logs,
    Management,
    ManagementToken,
    ProcessSettings,
    ProxyProtocol,
    References,
    Resolver,
)
from apigateway.config.revision_model import (
    Api,
    ApiKey,
    Choice,
    ConditionalFlow,
    Consumer,
    Flow,
    Flows,
    Match,
    PathRules,
    RevisionSettings,
    Route,
    Step,
    UpstreamChoice,
    Versioning,
)
from apigateway.config.state_model import State
from apigateway.config.steering_model import Canary, Compare, Mirror, Sticky
from apigateway.config.upstream_model import (
    RETRY_REASON,
    Breaker,
    HashOn,
    Health,
    PassiveHealth,
    Pool,
    Retry,
    Target,
    Timeouts,
    Upstream,
    UpstreamTls,
)

__all__ = [
    "COOKIE_NAME",
    "METHOD",
    "NAME",
    "RETRY_REASON",
    "SHA256",
    "VARIABLE",
    "Address",
    "Api",
    "ApiKey",
    "Breaker",
    "Canary",
    "CertificateFiles",
    "Choice",
    "ClientAuthentication",
    "Compare",
    "ConditionalFlow",
    "Configuration",
    "Consumer",
    "CookieName",
    "Drain",
    "Duration",
    "FileOrFolderPath",
    "FilePath",
    "Flow",
    "Flows",
    "FolderPath",
    "HashOn",
    "Health",
    "Listener",
    "ListenerLimits",
    "ListenerTls",
    "LogPath",
    "Logs",
    "Management",
    "ManagementToken",
    "Match",
    "Method",
    "Mirror",
    "Name",
    "OutputPath",
    "PassiveHealth",
    "PathMark",
    "PathRules",
    "Percent",
    "Pool",
    "ProcessSettings",
    "ProxyProtocol",
    "References",
    "Resolver",
    "Retry",
    "RevisionSettings",
    "Route",
    "Secret",
    "Settings",
    "Sha256",
    "Size",
    "State",
    "Status",
    "Step",
    "Sticky",
    "Target",
    "Timeouts",
    "Truth",
    "Upstream",
    "UpstreamChoice",
    "UpstreamTls",
    "Variable",
    "Versioning",
    "Whole",
]


class Configuration(ProcessSettings, RevisionSettings):
    """A whole file."""

    version: Literal[1] = Field(description="Of this format.")
    environment: Name = Field(
        default="default", description="The set of workers that share one deployed revision."
    )

    @property
    def revision(self) -> RevisionSettings:
        """The half that a manager could hold."""
        return RevisionSettings.model_construct(
            RevisionSettings.model_fields.keys() & self.model_fields_set,
            **{name: getattr(self, name) for name in RevisionSettings.model_fields},
        )
