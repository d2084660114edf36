"""A service of two servers that Sentinels watch: a primary, its replica, and three of those."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Self

from redis_server import PATIENCE, RedisServer

SERVICE = "limits"
DOWN_AFTER = 300  # milliseconds


class Service:
    """All real. primary and replica: as it began; sentinels: quorum 2."""

    def __init__(self, sentinels: int = 3) -> None:
        self.primary = RedisServer("--repl-diskless-sync-delay", "0")
        self.replica = RedisServer("--repl-diskless-sync-delay", "0")
        self.sentinels: list[RedisServer] = []
        self._number = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for one in (*self.sentinels, self.replica, self.primary):
            one.close()

    def role(self, server: RedisServer) -> str:
        """What a server says it is; "" while Sentinels end all connections to it."""
        with suppress(ConnectionError):
            return server.info("role")
        return ""

    def _start(self) -> Self:
        self.primary.start()
        self.replica.start()
        self.replica.command("REPLICAOF", *self.primary.address)
        host, port = self.primary.address
        for _ in range(self._number):
            self.sentinels.append(RedisServer(sentinel="\n".join((
                f"sentinel monitor {SERVICE} {host} {port} {self._number // 2 + 1}",
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
                f"sentinel failover-timeout {SERVICE} 3000",
            ))))
            self.sentinels[-1].start()
        self._wait()
        return self

    def _wait(self) -> None:
        """Until every Sentinel knows the replica and the others, and could fail over."""
        end = time.monotonic() + PATIENCE
        while not all(self._knows_all(one) for one in self.sentinels):
            assert time.monotonic() < end, "the Sentinels do not find each other"
            time.sleep(0.02)

    def _knows_all(self, one: RedisServer) -> bool:
        told = one.command("SENTINEL", "MASTER", SERVICE)
        fields = dict(zip(told[::2], told[1::2], strict=True))
        others, replicas = int(fields[b"num-other-sentinels"]), int(fields[b"num-slaves"])
        return replicas == 1 and others == self._number - 1 and self._follows()

    def _follows(self) -> bool:
        return self.replica.info("master_link_status") == "up"
