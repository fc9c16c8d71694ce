"""What is decided and not out yet: messages by topic, and the rows that are kept once they are."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Final

from schemas.base import Message
from schemas.topics import Topic, Topics
from streams.letters import Publishes
from streams.retry import until_done

__all__ = ["DecidedTable"]

_IN_ORDER: Final = (Topics.ALERTS, Topics.ACTIONS, Topics.NOTIFICATIONS)
"""What became of an alert is out before what is done about it, and both before anybody is told."""


class DecidedTable(MutableMapping[str, str]):
    """A table that is ahead of the real one by what its messages have not been sent for.

    Many decisions go out together, one send a topic, and their rows are kept only then: a crash in
    between decides again under the same ids. Writes are kept in their order, older ones of a row
    as well: what a kill leaves is then a beginning of the decisions. Were each row kept once, in
    its newest form, how far evaluations have come could be known without an alert that they began,
    or an alert that acted without policy's memory of it. What cannot be sent, because the worker
    stops, is forgotten, for the table may be another's by the time it is asked again.
    """

    def __init__(self, table: MutableMapping[str, str], publisher: Publishes) -> None:
        self._table = table
        self._publisher = publisher
        self._rows: dict[str, str | None]
        self._writes: list[tuple[str, str | None]]
        self._messages: dict[Topic, list[tuple[str, Message]]]
        self.forget()

    def say(self, topic: Topic, key: str, message: Message) -> None:
        """Add a message."""
        self._messages.setdefault(topic, []).append((key, message))

    async def settle(self) -> None:
        """Send the messages, as long as it takes, then keep the rows."""
        try:
            for topic, items in self._messages.items():
                if items:
                    await until_done("decisions", partial(self._publisher.send_many, topic, items))
            for key, value in self._writes:
                if value is not None:
                    self._table[key] = value
                elif key in self._table:
                    del self._table[key]
        finally:
            self.forget()

    def forget(self) -> None:
        """Be as the table is."""
        self._rows, self._writes = {}, []
        self._messages = {topic: [] for topic in _IN_ORDER}

    def __getitem__(self, key: str) -> str:
        value = self._rows[key] if key in self._rows else self._table.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: str) -> None:
        self._write(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._write(key, None)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str) and key in self._rows:
            return self._rows[key] is not None
        return key in self._table

    def __iter__(self) -> Iterator[str]:
        for key in list(self._table):
            if key not in self._rows:
                yield key
        for key, value in list(self._rows.items()):
            if value is not None:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _write(self, key: str, value: str | None) -> None:
        self._writes.append((key, value))
        self._rows[key] = value
