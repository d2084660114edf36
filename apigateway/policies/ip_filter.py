"""Lets requests through by the client's address.

Entries are single addresses, networks (`10.0.0.0/8`), or ranges (`10.0.0.1-10.0.0.9`), of IPv4 and IPv6;
an IPv6 address that stands for an IPv4 one (`::ffff:192.0.2.1`) is taken as that one. `deny` wins over
`allow`. With an `allow` list, what is not on it is refused; with `deny` alone, everything else passes.
Refused requests are answered 403.

The client's address is the one of the connection, unless that peer is one of `trusted_proxies`: then the
forwarding fields are walked from the right past all that are trusted. What a client writes into
`X-Forwarded-For` counts for nothing. A request that came by a Unix socket has no address, so nobody can
tell that it is not denied: it is refused, whichever list there is.
"""

from __future__ import annotations

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import FORBIDDEN, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.wire.ipset import IpSet


class Config(Settings):
    """Who may call."""

    allow: tuple[str, ...] = Field(
        default=(), description="Addresses, networks and ranges that may call; none: everybody."
    )
    deny: tuple[str, ...] = Field(
        default=(), description="Addresses, networks and ranges that may not, even if allowed."
    )


@implementer(IOnRequest)
class IpFilter:
    """Lets requests through by the client's address."""

    def __init__(self, config: Config) -> None:
        if not (config.allow or config.deny):
            raise ValueError("give allow, or deny, or both")
        self._allow = IpSet(config.allow) if config.allow else None
        self._deny = IpSet(config.deny, unknown=True) if config.deny else None

    def provision(self, services: Services) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Refuse who is denied or not allowed."""
        client = exchange.client
        if self._deny is not None and client in self._deny:
            raise _refusal(f"client {client} is denied" if client else "the client's address is not known")
        if self._allow is not None and client not in self._allow:
            raise _refusal(f"client {client} is not allowed")
        return None


def _refusal(private: str) -> Fault:
    return Fault(FORBIDDEN, public="This address may not call here.", private=private)


KIND = kind("ip-filter", config=Config, policy=IpFilter, guards=True)

EXAMPLES = (
    Example(
        "Only from inside",
        {"allow": ["10.0.0.0/8", "2001:db8::/32"]},
        (
            Call(client="10.1.2.3", status=200),
            Call(client="2001:db8::7", status=200),
            Call(client="::ffff:10.1.2.3", status=200),
            Call(client="203.0.113.9", status=403, sent=False),
        ),
    ),
    Example(
        "Everybody but a few",
        {"deny": ["203.0.113.0/24"]},
        (
            Call(client="198.51.100.7", status=200),
            Call(client="203.0.113.9", status=403, sent=False),
            Call(client="", status=403, sent=False),
        ),
    ),
    Example(
        "Deny wins; what a client claims to be counts for nothing",
        {"allow": ["198.51.100.0/24"], "deny": ["198.51.100.66"]},
        (
            Call(client="198.51.100.7", status=200),
            Call(client="198.51.100.66", status=403, sent=False),
            Call(
                client="203.0.113.9", headers=(("X-Forwarded-For", "198.51.100.7"),), status=403, sent=False
            ),
        ),
    ),
)
