"""A worker that takes as fast as it can: `python taker.py URL KEY LIMIT`. It writes a line for each unit that it was
granted, as soon as it hears of it."""

from __future__ import annotations

import os
import sys

from apigateway.ports.interfaces import Limit, StoreUnavailable
from apigateway.transport.reactor import install

AT_ONCE = 16


def main() -> None:
    install()  # before anything imports it
    from linking import Linked
    from toolkit.waiting import reactor, together
    from twisted.internet.defer import Deferred

    from apigateway.adapters.redis.store import RedisStore

    url, key, limit = sys.argv[1:]
    rule = Limit(key, int(limit), 31 * 86400.0)

    async def take() -> None:
        linked = await Linked({"url": url, "timeout": "10s"}).start()
        store = RedisStore(linked.link, "test")
        while True:
            answers = await together(*(store.take([rule]) for _ in range(AT_ONCE)))
            os.write(1, b"granted\n" * [answer.granted for answer in answers].count(True))

    async def until_the_server_ends() -> None:
        try:
            await take()
        except StoreUnavailable:
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(until_the_server_ends()))
    reactor.run()


if __name__ == "__main__":
    main()
