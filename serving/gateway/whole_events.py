"""Pass a stream on in whole server-sent events, and take out what is not for the client."""

from __future__ import annotations

from typing import Any, Final

import orjson

from serving.emit.joined import FACTS_MARK

__all__ = ["EndlessEventError", "WholeEvents"]

_LIMIT: Final = 1_048_576
_ENDS: Final = (b"\n\n", b"\r\n\r\n")


class EndlessEventError(Exception):
    """An event grew beyond what may be held."""


class WholeEvents:
    """Give back chunks as they come, less a tail that does not end an event yet.

    A client can do nothing with a part of an event, so holding it costs no time; and a stream that
    breaks can be ended with an error that the client can read. Nearly always a chunk is whole and
    passes untouched.

    Args:
        usage: take out the event that tells the usage, for which the client did not ask.
        facts: take out the comment in which a joined server tells its view.
        limit: bytes of an unfinished event that are held.
    """

    __slots__ = ("_filters", "_held", "_limit", "_take_facts", "_take_usage", "facts", "usage")

    def __init__(self, *, usage: bool = False, facts: bool = False, limit: int = _LIMIT) -> None:
        self._take_usage = usage
        self._take_facts = facts
        self._filters = usage or facts
        self._held = b""
        self._limit = limit
        self.usage: dict[str, Any] | None = None
        self.facts: bytes | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be passed on now.

        Raises:
            EndlessEventError: an event is longer than the limit.
        """
        if self._held or not chunk.endswith(b"\n\n"):
            chunk = self._cut(chunk)
        if self._filters and chunk:
            chunk = self._filtered(chunk)
        return chunk

    def rest(self) -> bytes:
        """Return the tail that is held when the stream ends by itself."""
        held, self._held = self._held, b""
        return held

    def _cut(self, chunk: bytes) -> bytes:
        seen = max(0, len(self._held) - 3)
        text = self._held + chunk
        ends = ((text.rfind(mark, seen), len(mark)) for mark in _ENDS)
        end = max((at + size for at, size in ends if at >= 0), default=0)
        self._held = text[end:]
        if len(self._held) > self._limit:
            raise EndlessEventError
        return text[:end]

    def _filtered(self, whole: bytes) -> bytes:
        """Return the events without those to be taken out."""
        usage = self._take_usage and (b'"usage":{' in whole or b'"usage": {' in whole)
        facts = self._take_facts and FACTS_MARK in whole
        if not usage and not facts:
            return whole
        kept: list[bytes] = []
        for event in whole.replace(b"\r\n", b"\n").split(b"\n\n"):
            if not event:
                continue
            if facts and event.startswith(FACTS_MARK):
                self.facts = event[len(FACTS_MARK) :]
            elif not (usage and self._is_usage(event)):
                kept.append(event + b"\n\n")
        return b"".join(kept)

    def _is_usage(self, event: bytes) -> bool:
        """Tell whether an event says the usage and nothing else, and keep it."""
        if not event.startswith(b"data:"):
            return False
        try:
            data = orjson.loads(event[5:])
        except orjson.JSONDecodeError:
            return False
        if not isinstance(data, dict) or data.get("choices") != []:
            return False
        usage = data.get("usage")
        if not isinstance(usage, dict):
            return False
        self.usage = usage
        return True
