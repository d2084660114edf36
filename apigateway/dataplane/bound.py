"""A worker's listeners, and how they take the settings of another revision: all of them, or none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from twisted.internet.interfaces import IListeningPort

from apigateway.config.model import Configuration
from apigateway.dataplane.certificates import CertificateRefused
from apigateway.dataplane.listener import Listener
from apigateway.dataplane.listener_tls import ListenerTlsContext, Prepared
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.wire.ipset import IpSet


class Bound:
    """A listener, its TLS and its endpoint."""

    def __init__(self, listener: Listener, tls: ListenerTlsContext | None, endpoint: Any) -> None:
        self.listener, self.tls, self.endpoint = listener, tls, endpoint
        self.port: IListeningPort | None = None
        # What looks at its certificates next.
        self.look: Any = None


Taking = Sequence[tuple[Bound, Any, Prepared | None]]
"""For each listener what it will have: its settings, and its certificates."""


def prepare_listeners(listeners: Sequence[Bound], configuration: Configuration) -> Taking:
    """What the listeners will take, with every certificate read; ConfigurationRefused where one is broken."""
    by_name = {settings.name: settings for settings in configuration.listeners}
    prepared: list[tuple[Bound, Any, Prepared | None]] = []
    for bound in listeners:
        settings = by_name[bound.listener.name]
        tls = None
        try:
            if bound.tls is not None and settings.tls is not None:
                tls = bound.tls.prepare(settings.tls, configuration.certificates)
        except (CertificateRefused, OSError) as error:
            number = configuration.listeners.index(settings)
            raise ConfigurationRefused([Problem(f"/listeners/{number}/tls", str(error))]) from error
        prepared.append((bound, settings, tls))
    return prepared


def take_listeners(prepared: Taking, configuration: Configuration, now: datetime) -> None:
    """Have the listeners take what was prepared of a configuration. now: in UTC."""
    trusted = IpSet(configuration.trusted_proxies)
    for bound, settings, tls in prepared:
        if bound.tls is not None and tls is not None:
            bound.tls.take(tls)
            bound.tls.flag_expired(now)
        bound.listener.apply(settings, trusted, configuration.trusted_fields)
