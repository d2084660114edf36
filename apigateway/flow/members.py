"""The places of a service (SRV records, RFC 2782) as targets of an upstream."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from apigateway.config.addresses import TcpAddress, check_host, parse_target_url
from apigateway.config.check_upstreams import target_name
from apigateway.config.model import Target
from apigateway.ports.interfaces import ServiceRecord

# A record of weight 0 beside others gets "a very small" share (RFC 2782, "Weight"): a hundredth of weight 1.
_SCALE = 100


@dataclass(frozen=True, slots=True)
class Member:
    """One place of a service. tier: 0 for the records of the lowest priority, which are asked first, then 1, ..."""

    target: Target
    tier: int


def is_service(target: Target) -> bool:
    """Whether a target stands for what SRV records say."""
    try:
        return parse_target_url(target.url).service
    except ValueError:
        return False


def service_name(target: Target) -> str:
    """The name whose SRV records a target stands for."""
    return parse_target_url(target.url).address.host


def public_name(service: str) -> str:
    """What a service's places are called in Host and TLS: its name without the labels that begin with "_".

    Never what a record says: who could forge records could show a certificate for any name of his own (RFC 9525 6.1).
    """
    labels = service.rstrip(".").split(".")
    while len(labels) > 1 and labels[0].startswith("_"):
        del labels[0]
    return ".".join(labels)


def members_of(target: Target, records: Sequence[ServiceRecord], taken: Collection[str] = ()) -> list[Member]:
    """The places that records name, those that can be none (no host name, one that is `taken` by another target of the
    upstream) left out.

    Weights: those of DNS times the target's own; all alike where DNS gives none. Members of a later tier stand in for
    those before: they are failover targets, whatever the target is; canaries and mirrors have the first tier only.
    """
    url = parse_target_url(target.url)
    usable = {record.host.lower() + f":{record.port}": record for record in reversed(records) if _usable(record)}
    priorities = sorted({record.priority for record in usable.values()})
    if target.role not in ("primary", "failover"):
        priorities = priorities[:1]
    made = []
    for tier, priority in enumerate(priorities):
        alike = sorted((name, record) for name, record in usable.items() if record.priority == priority)
        weighted = any(record.weight for _, record in alike)
        for name, record in alike:
            if name in taken:
                continue
            weight = (record.weight * _SCALE or 1) if weighted else 1
            address = TcpAddress(record.host.lower(), record.port)
            changes = {
                "name": name, "url": f"{url.scheme}://{address}{url.path}", "weight": weight * target.weight,
                "role": target.role if tier == 0 else "failover",
            }
            made.append(Member(target.model_copy(update=changes), tier))
    return made


def names_of(targets: Sequence[Target]) -> frozenset[str]:
    """The names that no member may have: of the targets that stand for themselves."""
    return frozenset(target_name(target) for target in targets if not is_service(target))


def _usable(record: ServiceRecord) -> bool:
    try:
        check_host(record.host)
    except ValueError:
        return False
    return not record.host.startswith("[")  # an address as urls have it, which is no name (RFC 2782, "Target")
