"""Micro-batches into the store, then into windows and samples; what is refused, to its topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import structlog

from schemas.clock import Clock
from schemas.dead_letter import DeadLetterReason
from schemas.topics import Topics
from streams import metrics
from streams.batch import Batch
from streams.letters import DeadLetters, Publishes
from streams.prepare import Prepared, Preparer, Refusal
from streams.requests_table import RequestsTable
from streams.retry import until_done
from streams.windows import WindowsAgent

__all__ = ["Samples", "Storing"]

log = structlog.get_logger(__name__)


class Samples(Protocol):
    """What takes a share of the requests for judging."""

    def offer(self, batch: Batch) -> None:
        """Take what belongs to the sample; never waits."""


class Storing:
    """Puts prepared batches where they belong, all of them in one insert.

    Should the store refuse a row for good, that event alone becomes a dead letter.
    """

    def __init__(
        self,
        table: RequestsTable,
        publisher: Publishes,
        preparer: Preparer,
        windows: WindowsAgent,
        samples: Samples,
        clock: Clock,
    ) -> None:
        self._table = table
        self._preparer = preparer
        self._windows = windows
        self._samples = samples
        self._letters = DeadLetters(Topics.REQUESTS, publisher, clock)

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Send what cannot be taken to the dead-letter topic, as long as it takes."""
        if refusals:
            letters = [
                self._letters.letter(item.reason, item.detail, item.payload, item.place)
                for item in refusals
            ]
            await until_done("dead letters", lambda: self._letters.send(letters))

    async def store(self, parts: Sequence[Prepared]) -> None:
        """Insert batches, oldest first, then window and sample what is stored.

        Raises:
            AbandonedError: the store is away and the worker leaving.
        """
        refused = await self._table.insert(_joined(parts))
        counted, first = [], 0
        for part in parts:
            self._preparer.done(part)
            stop = first + part.rows.num_rows
            here = [(row.index - first, row.detail) for row in refused if first <= row.index < stop]
            counted.append(await self._counted(part, here))
            first = stop
        self._count(counted)
        for part, batch in zip(parts, counted, strict=True):
            self._sample(batch)
            metrics.RECORDS.labels(topic=Topics.REQUESTS.name).inc(part.records)
            metrics.EVENTS.inc(len(part.batch))
            metrics.BATCH_EVENTS.observe(len(part.batch))

    async def _counted(self, part: Prepared, refused: Sequence[tuple[int, str]]) -> Batch:
        """Return what windows are to count of a batch; what the store refused is a dead letter."""
        uncounted = part.uncounted
        if refused:
            lost = part.new[[index for index, _ in refused]]
            await self.refuse(
                [
                    Refusal(
                        DeadLetterReason.STORE_REFUSED,
                        detail,
                        part.batch.columns.event(place).to_json(),
                        part.batch.origin.place(place),
                    )
                    for (_, detail), place in zip(refused, lost.tolist(), strict=True)
                ]
            )
            uncounted = np.setdiff1d(uncounted, lost)
        return part.batch.take(uncounted)

    def _count(self, batches: Sequence[Batch]) -> None:
        """Add stored events to windows; a fault is counted, for the rows stand already."""
        try:
            self._windows.add(*batches)
        except Exception:
            events = sum(map(len, batches))
            metrics.WINDOW_FAILURES.inc(events)
            log.exception("windows_fail", events=events)

    def _sample(self, batch: Batch) -> None:
        """Offer stored events to the judge's sample; a fault costs samples, nothing else."""
        try:
            if len(batch):
                self._samples.offer(batch)
        except Exception:
            log.exception("sampling_fails", events=len(batch))


def _joined(parts: Sequence[Prepared]) -> pa.Table:
    """Return the rows of all parts, in their order, as one block."""
    if len(parts) == 1:
        return parts[0].rows
    rows = pa.concat_tables([part.rows for part in parts if part.rows.num_rows] or [parts[0].rows])
    return rows.unify_dictionaries().combine_chunks()
