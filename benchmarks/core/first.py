"""The moment when a process based on aiokafka has its first records in hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from aiokafka.consumer.fetcher import Fetcher

__all__ = ["call_on_first_records"]

_GATE_S: Final = 0.02


def call_on_first_records(topic: str, first: Callable[[], None], gate: Path | None = None) -> None:
    """Call ``first`` when aiokafka hands over the first records of a topic.

    ``Fetcher.fetched_records`` is what both ``getmany`` and Faust take records from. Once the first
    are through it is as it was, so that the watching costs nothing.

    Args:
        gate: when given, records of the topic are withheld until this file exists. Meanwhile a
            file beside it, named by the process id, tells how many partitions this process has.
    """
    original: Any = Fetcher.fetched_records
    told: list[int] = []

    def tell(share: int) -> None:
        if gate is not None and told != [share]:
            told[:] = [share]
            gate.with_suffix(f".{os.getpid()}").write_text(str(share))

    async def fetched_records(
        self: Any,
        partitions: Collection[Any],
        timeout: float = 0,  # noqa: ASYNC109 - aiokafka's own
        max_records: int | None = None,
    ) -> Any:
        if gate is not None and not gate.exists():  # noqa: ASYNC240 - a look takes microseconds
            wanted = list(partitions or self._subscriptions.assigned_partitions())
            others = [tp for tp in wanted if tp.topic != topic]
            tell(len(wanted) - len(others))
            if not others:
                await asyncio.sleep(min(timeout, _GATE_S))
                return {}
            return await original(self, others, min(timeout, _GATE_S), max_records)
        records = await original(self, partitions, timeout, max_records)
        if any(tp.topic == topic for tp in records):
            Fetcher.fetched_records = original
            first()
        return records

    Fetcher.fetched_records = fetched_records
