"""The table of counters in a file of SQLite; see quota_file. Everything here may block."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from math import inf, isinf
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from apigateway.ports.interfaces import Decision, Quota, Usage
from apigateway.ports.quota_counting import Window, decide, window_at

# Of the table, as PRAGMA user_version.
FORMAT = 1
DAY = 86400.0
# A window is kept for so long after its end: the clock may be set back. What is never renewed ends so long after it was
# used last, so that the file does not grow for ever.
KEPT_AFTER = DAY
UNUSED = 400 * DAY
SWEEP_EVERY = 60.0
SWEPT_AT_ONCE = 2000

_SCHEMA = """
CREATE TABLE counter (
    key BLOB NOT NULL, begins REAL NOT NULL, ends REAL, used INTEGER NOT NULL, forgotten REAL NOT NULL,
    PRIMARY KEY (key, begins)
) WITHOUT ROWID;
CREATE INDEX counter_forgotten ON counter (forgotten);
"""
_USED = "SELECT used FROM counter WHERE key = ? AND begins = ?"
_USE = """
INSERT INTO counter (key, begins, ends, used, forgotten) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key, begins) DO UPDATE SET used = used + excluded.used, ends = excluded.ends,
    forgotten = excluded.forgotten
"""
_BEGIN_SO = """
SELECT key, used, begins, ends FROM counter WHERE key >= ? AND key < ? AND (ends IS NULL OR ends > ?) LIMIT ?
"""
_SWEEP = "DELETE FROM counter WHERE (key, begins) IN (SELECT key, begins FROM counter WHERE forgotten < ? LIMIT ?)"


class NotOurs(sqlite3.DatabaseError):
    """The file is none of this program, or one of a newer version."""


class QuotaTable:
    """Counters by key and window. Opened with the first call, and by the next one after `close`.

    wall: the clock, seconds since 1970. patience: seconds to wait for others that write. Every method raises
    sqlite3.Error or OSError where the file does not take it, and then nothing was changed.
    """

    def __init__(self, path: Path, wall: Callable[[], float], patience: float) -> None:
        self.path = path
        self._wall, self._patience = wall, patience
        self._connection: sqlite3.Connection | None = None
        self._swept = -inf

    def together(self, work: Sequence[Callable[[QuotaTable], Any]]) -> list[Any]:
        """Do all of it in one transaction."""
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [one(self) for one in work]
            self._sweep(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def consume(self, quotas: Sequence[Quota], cost: int) -> Decision:
        """See IQuotaStore."""
        connection, now = self._open(), self._wall()
        windows = [window_at(quota, now) for quota in quotas]
        decision = decide(quotas, windows, [self._used(window) for window in windows], cost, now)
        if decision.granted and cost:
            for window in dict.fromkeys(windows):
                ends, forgotten = _times(window, now)
                connection.execute(_USE, (_octets(window.key), window.begins, ends, cost, forgotten))
        return decision

    def usage(self, quotas: Sequence[Quota]) -> list[Usage]:
        """See IQuotaStore."""
        now = self._wall()
        windows = [window_at(quota, now) for quota in quotas]
        return [Usage(one.key, self._used(one), one.begins, None if isinf(one.ends) else one.ends) for one in windows]

    def used_by(self, prefix: str, most: int) -> list[Usage]:
        """See IQuotaStore; of windows that are not over."""
        begin = _octets(prefix)
        # Behind all that begin so: no text has the octet 255 in UTF-8.
        rows = self._open().execute(_BEGIN_SO, (begin, begin + b"\xff", self._wall(), most))
        return [Usage(_key(key), used, begins, ends) for key, used, begins, ends in rows]

    def reset(self, key: str) -> bool:
        """See IQuotaStore."""
        return self._open().execute("DELETE FROM counter WHERE key = ?", (_octets(key),)).rowcount > 0

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _used(self, window: Window) -> int:
        row = self._open().execute(_USED, (_octets(window.key), window.begins)).fetchone()
        return 0 if row is None else int(row[0])

    def _sweep(self, connection: sqlite3.Connection) -> None:
        now = self._wall()
        if abs(now - self._swept) < SWEEP_EVERY:
            return
        # Many at once would hold others up: then the next transaction goes on.
        if connection.execute(_SWEEP, (now, SWEPT_AT_ONCE)).rowcount < SWEPT_AT_ONCE:
            self._swept = now

    # ---- the file

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Who calls how much is nobody else's business; SQLite gives its other files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            # Transactions are ours: no BEGIN of the module's own.
            connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)
            try:
                _prepare(connection, self._patience)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _prepare(connection: sqlite3.Connection, patience: float) -> None:
    _write_ahead(connection, monotonic() + patience)
    connection.execute("PRAGMA synchronous = NORMAL")
    if connection.execute("PRAGMA user_version").fetchone()[0] == FORMAT:
        return
    connection.execute("BEGIN IMMEDIATE")  # another worker may be at it
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        elif found != FORMAT:
            raise NotOurs(f"it is of format {found}, and this version knows format {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _write_ahead(connection: sqlite3.Connection, until: float) -> None:
    """Of several that open a new file at once only one may change its mode; the others are refused at once, however
    patient they are."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or monotonic() > until:
                raise
            sleep(0.005)


def _times(window: Window, now: float) -> tuple[float | None, float]:
    """The end of a window, and when its counter is forgotten."""
    return (None, now + UNUSED) if isinf(window.ends) else (window.ends, window.ends + KEPT_AFTER)


def _octets(key: str) -> bytes:
    """A key may hold lone surrogates: octets of a client that are no UTF-8."""
    return key.encode("utf-8", "surrogatepass")


def _key(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogatepass")
