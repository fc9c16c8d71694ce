"""Bring together what the middleware saw of a request and what the engine says of it.

vLLM's stat loggers run in the process of the middleware, on the same loop. A record nearly always
comes just before the last byte of its answer; the table holds it until the middleware asks, or the
other way round. It is bounded in number and in time, so records that nobody asks for cannot pile
up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["EngineRecord", "JoinTable", "Waiter", "join_key"]

_PER_KEY = 128  # choices are at most 128; more records of one id belong to nobody


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What the engine says of one sequence when it is finished; durations in seconds."""

    request_id: str
    at: float  # monotonic seconds
    finish_reason: str | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    tpot_s: float | None = None
    preemptions: int | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None


def join_key(engine_id: str) -> str:
    """Return the request's id for the id of one of its sequences.

    Chat keeps the id (`chatcmpl-X`), completions and pooling count prompts (`cmpl-X-0`), responses
    count turns (`resp_X_0`).
    """
    if engine_id.startswith("chatcmpl-"):
        return engine_id
    separator = "_" if engine_id.startswith("resp_") else "-"
    head, found, tail = engine_id.rpartition(separator)
    return head if found and tail.isdigit() else engine_id


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that is over and whose engine records have not all come."""

    key: str
    since: float
    count: int
    ready: Callable[[Waiter], None]
    records: list[EngineRecord] = field(default_factory=list)


class JoinTable:
    """Engine records waiting for their request, and requests waiting for their records."""

    def __init__(self, capacity: int = 8_192, ttl_s: float = 30.0) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._records: OrderedDict[str, list[EngineRecord]] = OrderedDict()
        self._waiters: dict[str, list[Waiter]] = {}
        self._lock = threading.Lock()
        self.active = False
        """True once an engine reports here; before, waiting would be in vain."""
        self.unclaimed = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: EngineRecord) -> None:
        """Take a record; call back a request that has waited for it."""
        key = join_key(record.request_id)
        with self._lock:
            waiter = self._first_waiter(key, record)
            if waiter is None:
                self._keep(key, record)
                return
            waiter.records.append(record)
            if len(waiter.records) < waiter.count:
                return
            self._forget(waiter)
        waiter.ready(waiter)

    def take(self, key: str, since: float, count: int) -> list[EngineRecord]:
        """Return up to `count` records of `key` made after `since`, oldest first, and drop them.

        A client may reuse a request id: what was recorded before this request began is another's.
        """
        with self._lock:
            kept = self._records.pop(key, [])
            fresh = [record for record in kept if record.at >= since]
            if rest := fresh[count:]:
                self._records[key] = rest
            self.unclaimed += len(kept) - len(fresh)
            return fresh[:count]

    def wait(self, waiter: Waiter) -> None:
        """Call `waiter.ready` as soon as its records are complete."""
        with self._lock:
            self._waiters.setdefault(waiter.key, []).append(waiter)

    def give_up(self, waiter: Waiter) -> bool:
        """Stop waiting; return False when the waiter has been served already."""
        with self._lock:
            waiting = waiter in self._waiters.get(waiter.key, ())
            if waiting:
                self._forget(waiter)
            return waiting

    def _first_waiter(self, key: str, record: EngineRecord) -> Waiter | None:
        candidates = self._waiters.get(key, ())
        return next((w for w in candidates if record.at >= w.since), None)

    def _forget(self, waiter: Waiter) -> None:
        remaining = [w for w in self._waiters[waiter.key] if w is not waiter]
        if remaining:
            self._waiters[waiter.key] = remaining
        else:
            del self._waiters[waiter.key]

    def _keep(self, key: str, record: EngineRecord) -> None:
        records = self._records.setdefault(key, [])
        records.append(record)
        if len(records) > _PER_KEY:
            del records[0]
            self.unclaimed += 1
        self._records.move_to_end(key)
        while self._records:
            oldest = next(iter(self._records.values()))
            expired = oldest[-1].at < record.at - self._ttl_s
            if not expired and len(self._records) <= self._capacity:
                return
            self._records.popitem(last=False)
            self.unclaimed += len(oldest)
