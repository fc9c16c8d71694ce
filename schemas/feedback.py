"""What a user said about an answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.base import Message, Micros, Name, SchemaVersion

__all__ = ["FeedbackEvent", "Thumb"]


class Thumb(StrEnum):
    """The verdict of a user."""

    UP = "up"
    DOWN = "down"


class FeedbackEvent(Message):
    """One user's verdict on one request, joined to it by ``request_id``."""

    schema_version: SchemaVersion
    feedback_id: UUID
    request_id: Name
    at_us: Micros
    user_id: Name | None = None
    thumb: Thumb | None = None
    correction_redacted: Annotated[str, Field(max_length=32_768)] | None = None
