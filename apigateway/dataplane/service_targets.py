"""Targets that come and go with the SRV records of a service, without a reload."""

from __future__ import annotations

from collections.abc import Callable

from apigateway.dataplane.names import Service
from apigateway.flow.target_state import TargetState
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import IEventLog


class ServiceTargets:
    """Follows a service for one target of one revision's upstream; number: of the target in its settings.

    connect(state): puts in what opens connections to a new place, with its checks; let_go(state): gives that back. A
    place that has gone gets nothing new from that moment; it is forgotten once nothing runs on it any more, at the
    next change.
    """

    def __init__(
        self, service: Service, upstream: CompiledUpstream, number: int, connect: Callable[[TargetState], None],
        let_go: Callable[[TargetState], None], events: IEventLog,
    ) -> None:
        self.service = service
        self._upstream, self._number = upstream, number
        self._connect, self._let_go = connect, let_go
        self._events = events
        self._gone: set[TargetState] = set()
        service.follow(self)
        if service.found:
            self.addresses_changed()

    def addresses_changed(self) -> None:
        """See Follower."""
        new, gone = self._upstream.expand(self._number, self.service.found)
        for state in new:
            self._gone.discard(state)
            self._connect(state)
        for state in gone:
            self._let_go(state)
        self._gone.update(gone)
        for state in [state for state in self._gone if not state.active]:
            self._gone.discard(state)
            self._upstream.forget(state)
        if new or gone:
            self._events.event(
                "info", "targets of a service changed", upstream=self._upstream.name, service=self.service.host,
                new=[state.name for state in new], gone=[state.name for state in gone],
            )

    def close(self) -> None:
        """Follow no more; what is there stays."""
        self.service.forget(self)
