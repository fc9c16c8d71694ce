"""Count and log a message of our own topics that cannot be used; the topic still has it."""

from __future__ import annotations

from typing import Final

import structlog

from schemas.topics import Topic
from streams import metrics

__all__ = ["refused"]

_SHOWN: Final = 500

log = structlog.get_logger(__name__)


def refused(topic: Topic, offset: int, detail: str, **where: int) -> None:
    """Say which message was refused, and why: another version's, or a stranger's."""
    metrics.REFUSED.labels(topic=topic.name).inc()
    log.error("message_refused", topic=topic.name, **where, offset=offset, error=detail[:_SHOWN])
