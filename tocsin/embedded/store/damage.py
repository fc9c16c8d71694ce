"""Writes that failed without the engine's saying so, and what they left.

chDB 26.9 goes on when the system refuses a write (no space, a broken disk): the part becomes active
with files that are cut off, in an insert as in a merge. It does count such writes, and that count
is all there is to go by. When it rises, the parts written lately are checked. A new one that is
broken is dropped with its deduplication token, so that the same insert again writes it; where a
merge or a mutation broke one, the table is attached anew, and the engine goes back to the parts it
came from.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from tocsin.embedded.store.connection import EngineConnection
from tocsin.embedded.store.disk import Disk
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["DamageWatch"]

log = structlog.get_logger(__name__)

_COUNT: Final = (
    b"SELECT value FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
)
_RECENT: Final = b"""
    SELECT database, table, name, level = 0 AND min_block_number = max_block_number
        AND data_version = min_block_number
    FROM system.parts WHERE active AND toUnixTimestamp(modification_time) >= {since:Int64}
    ORDER BY database, table, name
"""
_LOOK_S: Final = 1.0
_SLACK_S: Final = 5
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class _Mark:
    """What is known: so many writes had failed at a time."""

    failures: int
    at_s: float


class DamageWatch:
    """Looks after the parts of one engine; safe to use from several threads.

    Args:
        connect: opens a connection.
        disk: gives its reserve to a repair.
        now: seconds of the clock by which the engine dates parts.
    """

    def __init__(
        self,
        connect: Callable[[], EngineConnection],
        disk: Disk,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._disk = disk
        self._now = now
        self._lock = threading.Lock()
        self._ended = threading.Event()
        with_count = connect()
        self._mark = _Mark(_failures(with_count), now())
        self._connection = with_count
        disk.hold_reserve()
        self._thread = threading.Thread(target=self._look, name="damage-watch", daemon=True)
        self._thread.start()

    @contextmanager
    def guard(self, connection: EngineConnection) -> Iterator[None]:
        """Make sure that no write fails unseen while the body runs; else repair what is broken.

        Raises:
            EngineError: that of the body; or a write has failed, of this query or of another one
                at the time (243).
        """
        mark = self._mark
        try:
            yield
        except EngineError:
            if _failures(connection) != mark.failures:
                self._repair(mark)
            raise
        if _failures(connection) != mark.failures:
            self._repair(mark)
            raise EngineError(
                ErrorCode.NOT_ENOUGH_SPACE,
                "writing to the disk of the store failed, there may be no space left. "
                "(NOT_ENOUGH_SPACE)",
            )

    def close(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            try:
                mark, at = self._mark, self._now()
                if _failures(self._connection) == mark.failures:
                    with self._lock:
                        if self._mark is mark:
                            self._mark = _Mark(mark.failures, at)
                else:
                    self._repair(mark)
            except EngineError as error:
                log.warning("store_repair_failed", error=str(error))

    def _repair(self, mark: _Mark) -> None:
        with self._lock:
            self._disk.use_reserve()
            connection = self._connect()
            try:
                for _ in range(_ROUNDS):
                    failures, at = _failures(connection), self._now()
                    _repair_parts(connection, int(mark.at_s) - _SLACK_S)
                    if _failures(connection) == failures:
                        self._mark = _Mark(failures, at)
                        break
            finally:
                connection.close()
                self._disk.hold_reserve()


def _failures(connection: EngineConnection) -> int:
    return int(connection.run(_COUNT, "TabSeparated", {}).data or b"0")


def _repair_parts(connection: EngineConnection, since_s: int) -> None:
    reply = connection.run(_RECENT, "JSONCompactEachRow", {"since": str(since_s)})
    broken_by_merges = set()
    for line in reply.data.splitlines():
        database, table, part, is_new = json.loads(line)
        name = f"{_quoted(database)}.{_quoted(table)}"
        if _is_whole(connection, name, part):
            continue
        log.warning("store_part_broken", table=name, part=part, new=bool(is_new))
        if is_new:
            connection.run(f"ALTER TABLE {name} DROP PART '{part}'".encode(), "Null", {})
        else:
            broken_by_merges.add(name)
    for name in broken_by_merges:
        connection.run(f"DETACH TABLE {name} SYNC".encode(), "Null", {})
        connection.run(f"ATTACH TABLE {name}".encode(), "Null", {})


def _is_whole(connection: EngineConnection, table: str, part: str) -> bool:
    query = f"CHECK TABLE {table} PART '{part}' SETTINGS check_query_single_value_result = 1"
    try:
        return connection.run(query.encode(), "TabSeparated", {}).data == b"1\n"
    except EngineError as error:
        log.warning("store_part_not_checked", table=table, part=part, error=str(error))
        return True  # gone by now: merged or dropped


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
