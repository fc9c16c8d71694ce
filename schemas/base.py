"""The base of every message: frozen, closed to unknown fields, finite numbers only."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "SCHEMA_VERSION",
    "Duration",
    "Labels",
    "Message",
    "Micros",
    "Name",
    "SchemaVersion",
    "Tokens",
]

SCHEMA_VERSION: Final = 1

SchemaVersion = Literal[1]

Micros = Annotated[int, Field(ge=0, le=4_102_444_800_000_000)]
"""UTC microseconds since 1970-01-01T00:00:00Z, up to the year 2100."""

Duration = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
"""Seconds, a day at most."""

Tokens = Annotated[int, Field(ge=0, le=1_000_000_000)]

Name = Annotated[str, Field(min_length=1, max_length=256)]

Labels = dict[str, str]


class Message(BaseModel):
    """One value of a topic."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        hide_input_in_errors=True,  # an error text reaches logs and pages; inputs may be personal
    )

    def to_json(self) -> bytes:
        """Return the wire form: compact JSON without the fields that are unknown (None)."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)
