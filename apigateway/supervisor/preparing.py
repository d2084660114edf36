"""A worker's part in an agreement: it prepares what it is told to, and commits or lets go of that. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from apigateway.dataplane.building import PreparedRevision
from apigateway.errors import ConfigurationRefused
from apigateway.supervisor import messages

Build = Callable[[bytes], Deferred[PreparedRevision]]


class Preparing:
    """One preparation at a time, in one of these states:

      none       nothing is beside what runs
      building   until `build` fires; cancelled where it is let go of
      prepared   told to the supervisor, until Commit or Discard, or until another Prepare comes

    build: begins to build a configuration beside the running one; cancelling frees what was built so far. send: tells
    the supervisor. digest: of the revision that runs. failed: told of what went wrong otherwise than by
    ConfigurationRefused. serves: number of the configuration that runs, -1 before there is one.
    """

    def __init__(
        self, build: Build, send: Callable[[messages.Message], None], digest: Callable[[], str],
        failed: Callable[[Failure], None],
    ) -> None:
        self._build, self._send, self._digest, self._failed = build, send, digest, failed
        self.serves = -1
        self._wanted: messages.Prepare | None = None
        self._building: Deferred[PreparedRevision] | None = None
        self._prepared: PreparedRevision | None = None

    def prepare(self, wanted: messages.Prepare) -> None:
        """Instead of whatever was prepared before."""
        self.let_go()
        self._wanted = wanted
        building = self._building = self._build(wanted.body)
        building.addCallbacks(self._is_built, self._is_not, (wanted,), {}, (wanted,), {})

    def commit(self, preparation: int) -> None:
        """Swap. Answered in any case, so that the supervisor knows what is served."""
        try:
            if self._prepared is not None and self._is_wanted(preparation):
                wanted, prepared = self._wanted, self._prepared
                self._wanted = self._prepared = None
                prepared.commit()
                self.serves = wanted.number if wanted is not None else -1
        finally:
            self._send(messages.Committed(preparation, self.serves, self._digest()))

    def discard(self, preparation: int) -> None:
        """Nothing where something else is prepared by now."""
        if self._is_wanted(preparation):
            self.let_go()

    def let_go(self) -> None:
        """Of whatever is beside what runs."""
        building, prepared = self._building, self._prepared
        self._wanted = self._building = self._prepared = None
        if building is not None:
            building.cancel()
        if prepared is not None:
            prepared.discard()

    def _is_wanted(self, preparation: int) -> bool:
        return self._wanted is not None and self._wanted.preparation == preparation

    def _is_built(self, prepared: PreparedRevision, wanted: messages.Prepare) -> None:
        if self._wanted is not wanted:
            prepared.discard()  # it was cancelled, and built all the same
            return
        self._building, self._prepared = None, prepared
        self._send(messages.Prepared(wanted.preparation))

    def _is_not(self, failure: Failure, wanted: messages.Prepare) -> None:
        if self._wanted is not wanted:
            return
        self._wanted = self._building = None
        if isinstance(failure.value, ConfigurationRefused):
            problems = [str(problem) for problem in failure.value.problems]
        else:
            self._failed(failure)
            problems = [f"/: {type(failure.value).__name__}: {failure.value}"]
        self._send(messages.Refused(wanted.preparation, problems))
