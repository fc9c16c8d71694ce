"""Find out which requests of `llm.actions` have been answered already, and what else was said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from pydantic import ValidationError

from schemas.action import ActionResult, KillSwitch, action_message
from schemas.settings import KafkaSettings
from serving.log import read_partitions

__all__ = ["Answered", "answered"]


@dataclass(slots=True)
class Answered:
    """The action ids whose results stand in the log, and the kill switch as it was told last."""

    actions: set[str] = field(default_factory=set)
    kill_switch: KillSwitch | None = None


async def answered(kafka: KafkaSettings, partitions: Iterable[TopicPartition]) -> Answered:
    """Return what executors have said.

    Actions are few, so the whole log is read: a request that comes twice, days apart, is known too.

    Raises:
        KafkaError: the log could not be read.
    """
    found = Answered()
    async for value in read_partitions(kafka, partitions):
        try:
            message = action_message.validate_json(value)
        except ValidationError:
            continue
        if isinstance(message, ActionResult):
            found.actions.add(message.action_id)
        elif isinstance(message, KillSwitch):
            found.kill_switch = message
    return found
