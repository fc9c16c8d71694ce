"""Naive Faust with the rest of the work: every field decoded, and rows in ClickHouse.

As a first version would have it: rows gather by the thousand and are inserted by clickhouse-connect
as they are, into Tocsin's own schema with its rollups. A crash would lose or double some.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Final

import clickhouse_connect

from benchmarks.core.contenders import naive_faust
from benchmarks.core.contenders.script import Task, task

_ROWS: Final = 1_000


class Request(naive_faust.Request, serializer="json"):  # type: ignore[call-arg]
    """The fields of a row that the windows do not need."""

    schema_version: int
    event_id: str
    request_id: str
    start_time_us: int
    server: str
    operation: str
    aborted: bool
    tokens_estimated: bool
    route: str = "stable"
    stream: bool | None = None
    failed_attempts: list[str] = []  # noqa: RUF012 - Faust reads it as a field with a default
    finish_reasons: list[str] = []  # noqa: RUF012
    lora_adapter: str | None = None
    feature: str | None = None
    user_id: str | None = None
    plan: str | None = None
    cached_input_tokens: int | None = None
    itl_mean_s: float | None = None
    itl_max_s: float | None = None
    tpot_s: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    preemptions: int | None = None
    prompt_hash: str | None = None
    prompt_redacted: str | None = None
    output_redacted: str | None = None


_FIELDS: Final = (*naive_faust.Request.__annotations__, *Request.__annotations__)
_COLUMNS: Final = (
    *(name.removesuffix("_us") for name in _FIELDS),
    "failed",
    "rejected",
    "cost_usd",
    "kafka_topic",
)


class Rows:
    """Gathers rows, and inserts them in a thread while the agent waits."""

    def __init__(self, given: Task) -> None:
        host, port, database = given.store.split(":")
        self._client = clickhouse_connect.get_client(host=host, port=int(port), database=database)
        self._topic = given.topic
        self._rows: list[list[Any]] = []

    async def add(self, request: Any, cost: Decimal | None, rejected: bool) -> None:
        """Take one request; every thousandth waits for the store."""
        row = [getattr(request, name) for name in _FIELDS]
        failed = request.error_type is not None and not rejected
        self._rows.append([*row, failed, rejected, cost, self._topic])
        if len(self._rows) >= _ROWS:
            await self.insert()

    async def insert(self) -> None:
        """Insert what was gathered."""
        rows, self._rows = self._rows, []
        if rows:
            insert = self._client.insert
            await asyncio.to_thread(insert, "requests", rows, column_names=_COLUMNS)


def main(given: Task) -> None:
    """Run the worker until it has seen every event."""
    naive_faust.main(given, Request, Rows(given))


if __name__ == "__main__":
    main(task(__doc__))
