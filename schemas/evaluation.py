"""What a judge said about an answer (OpenTelemetry's ``gen_ai.evaluation.result``)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["EvalOutcome", "EvalResult"]


class EvalOutcome(StrEnum):
    """Whether a sampled request got a score, and if not, why not."""

    SCORED = "scored"
    NO_TEXT = "no_text"
    JUDGE_ERROR = "judge_error"
    BAD_ANSWER = "bad_answer"
    SKIPPED = "skipped"


class EvalResult(Message):
    """One judgement; ``score`` is 0 (worst) to 1 (best), None when the request went unscored."""

    schema_version: SchemaVersion
    eval_id: UUID
    event_id: UUID
    request_id: Name
    request_end_us: Micros
    at_us: Micros
    evaluator: Name
    judge_model: Name
    labels: Labels
    outcome: EvalOutcome
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    explanation: Annotated[str, Field(max_length=4_096)] | None = None
