"""Commands on their way to Kafka: acknowledged by the broker, or not accepted."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.command import Command
from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings
from schemas.topics import Topics
from tocsin.api.errors import AwayError

__all__ = ["CommandSender", "Sends"]

_PATIENCE_S: Final = 2.0
"""Slack waits three seconds for an answer."""


class Sends(Protocol):
    """What takes commands."""

    async def send(self, command: Command) -> None:
        """Send a command; see ``CommandSender.send``."""


class CommandSender:
    """Sends commands to ``llm.commands``, connecting when the first one comes."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(self, command: Command) -> None:
        """Return once the broker has a command.

        Raises:
            AwayError: it does not within two seconds. The command may get there all the same; sent
                again under the same ``command_id`` it takes effect once.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                producer = await self._connected()
                await producer.send_and_wait(
                    Topics.COMMANDS.name, command.to_json(), key=command.subject.encode()
                )
        except (KafkaError, OSError, TimeoutError) as error:
            said = f"{type(error).__name__}: {error}"[:300]
            raise AwayError(
                f"the broker at {self._settings.bootstrap} does not answer: {said}"
            ) from (None)

    async def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**kafka_client(self._settings, "api"), acks="all")
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer
