"""Who judges a sample of the answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.settings.section import Count, PositiveSeconds, Section

__all__ = ["JudgeSettings"]


class JudgeSettings(Section):
    """Judge-sampled quality: any OpenAI-compatible endpoint; none configured is none asked."""

    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    model: str = "judge"
    sample_rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    timeout_s: PositiveSeconds = 20
    concurrency: Count = 4
    queue: Count = Field(default=1_000, description="sampled requests that may wait for the judge")
    rubric: str = ""
