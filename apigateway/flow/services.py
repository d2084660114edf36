"""What a policy is given when it is provisioned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apigateway.config.model import Consumer
from apigateway.ports.interfaces import (
    IClock,
    IEventLog,
    IMetrics,
    INotices,
    IQuotaStore,
    IRandom,
    IStateStore,
    ITimers,
)
from apigateway.ports.local_cache import LocalCaches
from apigateway.ports.memory import NullMetrics
from apigateway.ports.memory_notices import MemoryNotices
from apigateway.ports.memory_quotas import NoQuotas
from apigateway.text import parse_date

T = TypeVar("T")


class Shared:
    """Things that outlive a reload, counted: made by whoever asks first, closed when the last owner lets go.

    One per worker. An owner is a revision; `release(owner)` lets go of all it held.
    """

    def __init__(self) -> None:
        self._things: dict[str, Any] = {}
        self._owners: dict[str, set[object]] = {}

    def get(self, owner: object, key: str, factory: Callable[[], T]) -> T:
        """The thing under a key; made by the factory where nobody holds one."""
        if key not in self._things:
            self._things[key] = factory()
            self._owners[key] = set()
        self._owners[key].add(owner)
        return self._things[key]  # type: ignore[no-any-return]

    def release(self, owner: object) -> None:
        """Let go of all that this owner holds; what nobody holds is closed (its `close()`, where it has one)."""
        for key in [key for key, owners in self._owners.items() if owner in owners]:
            self.let_go(owner, key)

    def let_go(self, owner: object, key: str) -> None:
        """Let go of one thing that this owner holds, in the same way; nothing where he does not."""
        owners = self._owners.get(key, set())
        if owner not in owners:
            return
        owners.discard(owner)
        if not owners:
            del self._owners[key]
            close = getattr(self._things.pop(key), "close", None)
            if close is not None:
                close()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A consumer found by one of its keys; `expires` wall seconds, or None. credential: which key it was, in short,
    without giving it away. sha256: its whole hash, which no other key has."""

    consumer: Consumer
    expires: float | None
    credential: str = ""
    sha256: str = ""


class Consumers:
    """The consumers of a revision, found by name or by the hash of a key."""

    def __init__(self, consumers: tuple[Consumer, ...]) -> None:
        self.by_name: Mapping[str, Consumer] = {consumer.name: consumer for consumer in consumers}
        self._by_key = {
            key.sha256: KeyHolder(consumer, _seconds(key.expires), key.sha256[:12], key.sha256)
            for consumer in consumers for key in consumer.api_keys
        }

    def by_key(self, key: str) -> KeyHolder | None:
        """Who holds this key (given in clear; only hashes are compared, so timing tells nothing of a stored key)."""
        return self._by_key.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())


def _seconds(date: str | None) -> float | None:
    return None if date is None else parse_date(date).timestamp()


@dataclass(frozen=True)
class Services:
    """Given to `provision`. place: "gateway/…", "api/NAME" or "api/NAME/route/NAME" plus the step's name, unique in
    the revision and stable over reloads: what a counter is named by. shared(key, factory): see Shared.
    hide_in_logs(name): told names of query pairs whose values no log may show, of refused requests neither.
    caches: of the worker; what is kept in one is counted, and forgotten when an operator says so."""

    clock: IClock
    random: IRandom
    timers: ITimers
    store: IStateStore
    events: IEventLog
    consumers: Consumers
    environment: str = "default"
    place: str = ""
    api: str = ""
    route: str = ""
    shared: Callable[[str, Callable[[], Any]], Any] = field(default=lambda key, factory: factory())
    metrics: IMetrics = field(default_factory=NullMetrics)
    hide_in_logs: Callable[[str], None] = field(default=lambda name: None)
    quotas: IQuotaStore = field(default_factory=NoQuotas)
    notices: INotices = field(default_factory=MemoryNotices)
    caches: LocalCaches = field(default_factory=LocalCaches)
