"""Dead letters: what is refused, with its reason and where it stood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.base import SCHEMA_VERSION, Message
from schemas.clock import Clock
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter, DeadLetterReason
from schemas.topics import Topic, Topics
from streams import metrics

__all__ = ["DeadLetters", "Place", "Publishes"]

Place = tuple[int, int, int | None]
"""Partition, offset, and the place in a batch record; None for the whole record."""

_DETAIL: int = 2_000


class Publishes(Protocol):
    """What sends messages: the publisher."""

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
        """Send messages in order and return their offsets; see ``Publisher.send_many``."""


class DeadLetters:
    """Writes and sends the dead letters of one topic."""

    def __init__(self, topic: Topic, publisher: Publishes, clock: Clock) -> None:
        self._topic = topic
        self._publisher = publisher
        self._clock = clock

    def letter(
        self, reason: DeadLetterReason, detail: str, payload: bytes, place: Place
    ) -> DeadLetter:
        """Return a letter; of a large payload only the beginning is kept."""
        partition, offset, index = place
        # Without validation, which would take the payload for Base64 text.
        return DeadLetter.model_construct(
            schema_version=SCHEMA_VERSION,
            reason=reason,
            detail=detail[:_DETAIL],
            topic=self._topic.name,
            partition=partition,
            offset=offset,
            index=index,
            payload=payload[:MAX_PAYLOAD_BYTES],
            payload_size=len(payload),
            at_us=self._clock(),
        )

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send letters and count them.

        Raises:
            Exception: the broker did not take them; nothing was counted.
        """
        if not letters:
            return
        items = [(letter.topic, letter) for letter in letters]
        await self._publisher.send_many(Topics.DEAD_LETTER, items)
        for letter in letters:
            metrics.DEAD_LETTERS.labels(reason=letter.reason.value).inc()
