"""The link and the notices of a worker, made from the settings of its state."""

from __future__ import annotations

from apigateway.adapters.redis.connection import Counts
from apigateway.adapters.redis.dialling import Dialling, Reach
from apigateway.adapters.redis.link import RedisLink
from apigateway.adapters.redis.notices import RedisNotices
from apigateway.adapters.redis.outage import Outage
from apigateway.config.model import State
from apigateway.ports.interfaces import IEventLog, IRandom


class Remote:
    """What reaches the server of a state. environment: begins the names of its keys and channels."""

    def __init__(
        self, settings: State, environment: str, reach: Reach, random: IRandom, events: IEventLog
    ) -> None:
        counts = Counts()
        prefix = f"apigateway:{environment}:".encode()
        link_outage = Outage(
            events, reach.now, settings.url,
            "the shared state does not answer, steps do as their on_store_failure says",
            "the shared state answers again", lambda: counts.failed + counts.without,
        )
        name = f"apigateway:{environment}"
        dialling = Dialling(settings, reach, counts, name=name, probe=prefix + b"{probe}")
        self.link = RedisLink(dialling.dial, reach.timers, reach.now, random, counts, link_outage)
        notices_outage = Outage(
            events, reach.now, settings.url, "news from other workers cannot be heard",
            "news from other workers are heard again",
        )
        listening = Dialling(settings, reach, Counts(), name=f"{name}:notices", probe=prefix + b"{probe}")
        self.notices = RedisNotices(
            listening.dial, self.link, reach.timers, reach.now, random, notices_outage, prefix
        )

    def close(self) -> None:
        """End the connections."""
        self.notices.close()
        self.link.close()
