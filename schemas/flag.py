"""The desired state of serving: one flag's value, on the compacted topic ``llm.flags``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Message, Micros, Name, SchemaVersion

__all__ = ["FlagKey", "FlagValue"]


class FlagKey(StrEnum):
    """The flags that operators know."""

    MODEL_PROVIDER = "ai.model.provider"
    MODEL_VERSION = "ai.model.version"
    FEATURE_ENABLED = "ai.feature.enabled"
    ROUTING_STRATEGY = "ai.routing.strategy"
    GUARDRAILS_STRICT = "ai.guardrails.strict"
    CANARY_VERSION = "ai.canary.version"
    CANARY_PERCENT = "ai.canary.percent"
    SHADOW_PERCENT = "ai.shadow.percent"
    FALLBACK_ENABLED = "ai.fallback.enabled"
    RATE_LIMIT_PROFILE = "ai.ratelimit.profile"


class FlagValue(Message):
    """One flag after one change.

    ``variants`` are all values it can take by name (flagd's term); ``variant`` is the one in
    force, ``previous_variant`` the one before. ``revision`` counts changes of the flag file.
    """

    schema_version: SchemaVersion
    key: FlagKey
    variants: dict[str, str | bool]
    variant: Name
    previous_variant: str | None = None
    revision: Annotated[int, Field(ge=1)]
    changed_by: Name
    reason: str
    at_us: Micros
