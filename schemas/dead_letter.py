"""What could not be read, with the reason and where it came from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Base64Bytes, Field

from schemas.base import Message, Micros, Name, SchemaVersion

__all__ = ["MAX_PAYLOAD_BYTES", "DeadLetter", "DeadLetterReason"]

MAX_PAYLOAD_BYTES = 65_536
"""How much of a bad record a dead letter keeps; ``payload_size`` tells how large it was."""


class DeadLetterReason(StrEnum):
    """Why a record, or one event of a batch record, was refused."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_AN_EVENT = "not_an_event"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    INVALID_VALUE = "invalid_value"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    TIME_IN_FUTURE = "time_in_future"
    STORE_REFUSED = "store_refused"
    INTERNAL_ERROR = "internal_error"


class DeadLetter(Message):
    """One refused record or event; ``index`` is its place in a batch record, None for the whole."""

    schema_version: SchemaVersion
    reason: DeadLetterReason
    detail: Annotated[str, Field(max_length=2_000)]
    topic: Name
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    index: Annotated[int, Field(ge=0)] | None = None
    payload: Base64Bytes
    payload_size: Annotated[int, Field(ge=0)]
    at_us: Micros
