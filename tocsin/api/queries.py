"""Asking the store for what the API shows, and its values as JSON has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Protocol

import orjson

from streams.errors import StoreRefusedError, StoreUnavailableError
from tocsin.api.errors import AwayError

__all__ = ["Queries", "ask", "micros", "moment", "parsed", "text_of"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Queries(Protocol):
    """What answers queries: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""


async def ask(
    store: Queries, sql: str, parameters: dict[str, Any] | None = None
) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a query.

    Raises:
        AwayError: the store does not answer.
    """
    try:
        return await store.query(sql, parameters)
    except (StoreUnavailableError, StoreRefusedError) as error:
        raise AwayError(f"the store does not answer: {str(error)[:300]}") from None


def moment(at_us: int) -> dt.datetime:
    """Return a time of so many microseconds."""
    return _EPOCH + dt.timedelta(microseconds=at_us)


def micros(at: dt.datetime) -> int:
    """Return a time in microseconds; one without a zone is UTC's."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def text_of(at: dt.datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, with milliseconds."""
    if at is None:
        return None
    aware = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed(text: str) -> dict[str, Any]:
    """Return a column of JSON."""
    found = orjson.loads(text or "{}")
    return found if isinstance(found, dict) else {}
