"""Tables and topics in files, with the durability that Faust and Kafka give a worker.

A table's writes reach its changelog in order but later; a kill -9 loses the newest of them. They
are all there before an offset is committed. What a publisher returns from is there for good.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from schemas.base import Message
from schemas.topics import Topic

__all__ = ["FileTable", "FileTopics", "Written", "parsed"]

Written = Callable[[str, str | None, str | None, bool], None]
"""Told of each write: key, text before, text after, and whether it is about to be or was done."""


class FileTable(MutableMapping[str, str]):
    """A table whose changelog is a file; what is buffered dies with the process."""

    def __init__(self, path: Path, rng: random.Random, *, careless: bool = False) -> None:
        self._careless = careless
        self._path = path
        self._rng = rng
        self._rows: dict[str, str] = {}
        self._buffer: list[str] = []
        self.on_write: Written = lambda *_: None
        if path.exists():
            for line in path.read_text().splitlines():
                key, value = json.loads(line)
                if value is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = value

    def __getitem__(self, key: str) -> str:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __setitem__(self, key: str, value: str) -> None:
        self._write(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self._rows:
            raise KeyError(key)
        self._write(key, None)

    def _write(self, key: str, value: str | None) -> None:
        before = self._rows.get(key)
        self.on_write(key, before, value, False)
        if value is None:
            del self._rows[key]
        else:
            self._rows[key] = value
        self._buffer.append(json.dumps([key, value]))
        if self._rng.random() < 0.5:
            self.flush()
        self.on_write(key, before, value, True)

    def flush(self) -> None:
        """Bring every write into the changelog."""
        if self._buffer and not self._careless:
            _append(self._path, self._buffer)
            self._buffer = []


class FileTopics:
    """Topics and committed offsets; a publisher, and the consumer of each topic."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> None:
        """Append messages."""
        self.append(topic, [message.to_json() for _, message in items])

    def append(self, topic: Topic, values: Sequence[bytes]) -> None:
        """Append raw messages."""
        _append(self._folder / topic.name, [value.decode() for value in values])

    def read(self, topic: Topic) -> list[bytes]:
        """Return every message of a topic."""
        path = self._folder / topic.name
        return path.read_bytes().splitlines() if path.exists() else []

    def behind(self, topic: Topic, group: str) -> tuple[int, list[bytes]]:
        """Return the committed offset of a consumer and the messages from there."""
        path = self._folder / f"{topic.name}@{group}"
        offset = int(path.read_text()) if path.exists() else 0
        return offset, self.read(topic)[offset:]

    def commit(self, topic: Topic, group: str, offset: int) -> None:
        """Commit an offset."""
        path = self._folder / f"{topic.name}@{group}"
        path.with_suffix(".new").write_text(str(offset))
        path.with_suffix(".new").replace(path)


def _append(path: Path, lines: Sequence[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def parsed(text: str | None) -> dict[str, Any]:
    """Return a row as JSON; empty without one."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found
