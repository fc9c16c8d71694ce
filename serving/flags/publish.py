"""Tell the compacted topic `llm.flags` what the flag file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.base import SCHEMA_VERSION
from schemas.flag import FlagKey, FlagValue
from schemas.topics import Topics

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from serving.flags.document import FlagDocument

__all__ = ["FlagPublisher", "flag_value"]


def flag_value(document: FlagDocument, key: FlagKey) -> FlagValue:
    """Return a flag's newest change as a message.

    Raises:
        UnknownVariantError: the file has no such flag.
    """
    flag = document.flag(key)
    last = flag.history[-1] if flag.history and flag.history[-1].variant == flag.variant else None
    return FlagValue(
        schema_version=SCHEMA_VERSION,
        key=key,
        variants=dict(flag.variants),
        variant=flag.variant,
        previous_variant=last.previous if last else None,
        revision=max(1, last.revision if last else document.revision),
        changed_by=last.by if last else "file",
        reason=last.reason if last else "found in the flag file",
        at_us=last.at_us if last else 0,
    )


class FlagPublisher:
    """Sends each flag whose value is not yet known to be in the topic."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._sent: dict[FlagKey, FlagValue] = {}

    async def publish(self, document: FlagDocument) -> list[FlagValue]:
        """Send what is new and wait until the broker has it; return what was sent.

        Raises:
            KafkaError: the broker did not take it; the next call sends it again.
        """
        sent: list[FlagValue] = []
        for key in document.flags:
            value = flag_value(document, key)
            if self._sent.get(key) != value:
                await self._producer.send_and_wait(
                    Topics.FLAGS.name, value.to_json(), key=key.encode()
                )
                self._sent[key] = value
                sent.append(value)
        return sent
