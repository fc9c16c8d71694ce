"""What a killed worker leaves behind: tables that lose their newest writes, logs that do not."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent
from alerting.notifiers.base import Receipt
from schemas.base import Message
from schemas.topics import Topic

__all__ = ["Broker", "Changelog", "Killed", "Record", "ShowingReceiver"]

US = 1_000_000


class Killed(BaseException):
    """The worker is gone: nothing of it may catch this."""


class Changelog(MutableMapping[str, str]):
    """A table that can lose its newest writes, as a kill -9 does, down to the last commit."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.late: list[tuple[str, str | None]] = []

    def __getitem__(self, key: str) -> str:
        return self.rows[key]

    def __setitem__(self, key: str, value: str) -> None:
        self.rows[key] = value
        self.late.append((key, value))

    def __delitem__(self, key: str) -> None:
        del self.rows[key]
        self.late.append((key, None))

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def commit(self, count: int | None = None) -> None:
        """Bring the oldest so many late writes, or all of them, into safety."""
        count = len(self.late) if count is None else count
        for key, value in self.late[:count]:
            if value is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = value
        del self.late[:count]

    def crash(self, kept: int) -> None:
        """Lose all late writes but the oldest so many."""
        self.commit(min(kept, len(self.late)))
        self.late = []
        self.rows = dict(self.kept)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log; ``number`` counts over all topics."""

    number: int
    topic: str
    value: bytes


@dataclass(slots=True)
class Broker:
    """Every topic's log, which outlives workers.

    The next ``failures`` sends fail; with ``left`` the worker is killed once so many more records
    are in.
    """

    records: list[Record] = field(default_factory=list)
    logs: dict[str, list[Record]] = field(default_factory=dict)
    failures: int = 0
    left: int | None = None

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
        """Append messages in order; return their offsets."""
        if items and self.failures:
            self.failures -= 1
            raise ConnectionError("the broker is gone")
        first = len(self.logs.get(topic.name, ()))
        for _, message in items:
            if self.left == 0:
                raise Killed
            self.append(topic.name, message.to_json())
            if self.left is not None:
                self.left -= 1
        return list(range(first, first + len(items)))

    def append(self, topic: str, value: bytes) -> None:
        """Append one record."""
        record = Record(len(self.records), topic, value)
        self.records.append(record)
        self.logs.setdefault(topic, []).append(record)


class ShowingReceiver:
    """Shows what it is sent; may be away, busy until a time, or refuse.

    With ``cut`` the worker is killed while it sends: the receiver has it, and nobody knows.
    """

    def __init__(self, name: str, now_us: int) -> None:
        self.name = name
        self.now_us = now_us
        self.mood = "well"
        self.not_before_us = 0
        self.cut = False
        self.refused = False
        self.shown: list[NotificationIntent] = []
        self.violations: list[str] = []

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Show an intent, or fail as the mood is."""
        if self.now_us < self.not_before_us:  # raised here, it would be an error to try again
            self.violations.append("asked sooner than it wanted")
        if self.mood == "busy":
            self.not_before_us = self.now_us + 30 * US
            raise NotifyRetryable("429", 30)
        if self.mood == "away":
            raise NotifyRetryable("no answer")
        if self.mood == "refuses":
            self.refused = True
            raise NotifyRefused("400")
        self.shown.append(intent)
        if self.cut:
            raise Killed
        return {"revision": intent.revision}

    async def aclose(self) -> None:
        """Nothing is open."""
