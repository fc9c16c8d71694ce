"""Send messages and know that the broker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import faust

from schemas.base import Message
from schemas.topics import Topic
from streams import metrics

__all__ = ["Publisher"]


class Publisher:
    """Sends through the app's own producer; returns when every broker acknowledgement is in."""

    def __init__(self, app: faust.App) -> None:
        self._app = app

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
        """Send messages in order, waiting once for all acknowledgements; return their offsets.

        Raises:
            faust.exceptions.ProducerSendError, KafkaError: the broker did not take them all.
        """
        if not items:
            return []
        await self._app.maybe_start_producer()
        pending = [
            await self._app.producer.send(
                topic.name, key.encode(), message.to_json(), None, None, None
            )
            for key, message in items
        ]
        taken = await asyncio.gather(*pending)
        metrics.MESSAGES_SENT.labels(topic=topic.name).inc(len(items))
        return [int(place.offset) for place in taken]
