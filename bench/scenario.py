"""What the proxies of a job are configured to do, told to all of them in the same words."""

from __future__ import annotations

from dataclasses import dataclass

RESOURCES = (
    "orders", "customers", "invoices", "products", "carts", "shipments", "returns", "payments", "ratings", "stocks",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """routes: of every proxy; 0: those of the plain job, where we have 200 and the peers the five that are asked for.
    tls: on the listener. policies: a rate limit in memory, never reached, and a field set in each direction.
    limit: such a rate limit alone, counted in "memory" or in "redis", which is at the url `state`.
    bodies: requests may have one. management: a port for ours, 0: none. count_as: written into a field of ours, so
    that a reload has something new.
    """

    routes: int = 0
    tls: bool = False
    policies: bool = False
    limit: str = ""
    state: str = ""
    bodies: bool = False
    workers: int = 1
    management: int = 0
    count_as: str = ""

    def services(self) -> tuple[str, ...]:
        """The Apis that requests are for; each has all RESOURCES."""
        if not self.routes:
            return ("service-01", "service-03", "service-05", "service-07", "service-09")
        return tuple(f"service-{number:02d}" for number in range(self.routes // len(RESOURCES)))

    def paths(self) -> list[str]:
        """What the peers have routes for: prefixes, whole segments each."""
        if not self.routes:
            return [f"/{service}/" for service in self.services()]
        return [f"/{service}/{resource}/" for service in self.services() for resource in RESOURCES]


PLAIN = Scenario()
