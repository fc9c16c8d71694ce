"""What a detector says about one series, and the catalogue of what it may say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["SIGNALS", "Signal", "SignalName", "SignalQuery", "SignalSpec"]


class SignalName(StrEnum):
    """Every signal that a rule may name."""

    ERROR_RATE = "error_rate"
    ABORT_RATE = "abort_rate"
    REQUEST_RATE = "request_rate"
    TTFT_P95 = "ttft_p95"
    E2E_P95 = "e2e_p95"
    TPOT_P95 = "tpot_p95"
    E2E_P95_RATIO = "e2e_p95_ratio"
    OUTPUT_TOKENS_PER_S = "output_tokens_per_s"
    COST_RATE = "cost_rate"
    COST_RATE_RATIO = "cost_rate_ratio"
    UNKNOWN_PRICE_RATE = "unknown_price_rate"
    QUALITY_SCORE = "quality_score"
    FEEDBACK_POSITIVE_RATE = "feedback_positive_rate"
    INPUT_TOKENS_PSI = "input_tokens_psi"
    OUTPUT_TOKENS_PSI = "output_tokens_psi"
    INPUT_TOKENS_KS = "input_tokens_ks"
    OUTPUT_TOKENS_KS = "output_tokens_ks"
    INPUT_TOKENS_ADWIN = "input_tokens_adwin"
    OUTPUT_TOKENS_ADWIN = "output_tokens_adwin"
    WATERMARK_LAG = "watermark_lag"


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """Unit and meaning of a signal, for rules, pages and the documentation."""

    unit: str
    meaning: str


SIGNALS: dict[SignalName, SignalSpec] = {
    SignalName.ERROR_RATE: SignalSpec("ratio", "failed requests / all requests"),
    SignalName.ABORT_RATE: SignalSpec("ratio", "requests whose client left / all requests"),
    SignalName.REQUEST_RATE: SignalSpec("1/s", "requests per second"),
    SignalName.TTFT_P95: SignalSpec("s", "95th percentile of the time to first token"),
    SignalName.E2E_P95: SignalSpec("s", "95th percentile of the request duration"),
    SignalName.TPOT_P95: SignalSpec("s", "95th percentile of the time per output token"),
    SignalName.E2E_P95_RATIO: SignalSpec("x", "P95 of the request duration / its baseline"),
    SignalName.OUTPUT_TOKENS_PER_S: SignalSpec(
        "tokens/s", "decode speed that the median request saw: 1 / P50 of time per output token"
    ),
    SignalName.COST_RATE: SignalSpec("USD/h", "cost of the known-price requests, per hour"),
    SignalName.COST_RATE_RATIO: SignalSpec("x", "cost rate / its trailing average"),
    SignalName.UNKNOWN_PRICE_RATE: SignalSpec("ratio", "requests of unknown price / all requests"),
    SignalName.QUALITY_SCORE: SignalSpec("score", "mean judge score, 0 (worst) to 1 (best)"),
    SignalName.FEEDBACK_POSITIVE_RATE: SignalSpec("ratio", "thumbs up / all thumbs"),
    SignalName.INPUT_TOKENS_PSI: SignalSpec("psi", "population stability of prompt lengths"),
    SignalName.OUTPUT_TOKENS_PSI: SignalSpec("psi", "population stability of output lengths"),
    SignalName.INPUT_TOKENS_KS: SignalSpec("D", "two-sample KS statistic of prompt lengths"),
    SignalName.OUTPUT_TOKENS_KS: SignalSpec("D", "two-sample KS statistic of output lengths"),
    SignalName.INPUT_TOKENS_ADWIN: SignalSpec("bool", "1 when ADWIN finds the mean has moved"),
    SignalName.OUTPUT_TOKENS_ADWIN: SignalSpec("bool", "1 when ADWIN finds the mean has moved"),
    SignalName.WATERMARK_LAG: SignalSpec("s", "wall clock - watermark of the windows"),
}


@dataclass(frozen=True, slots=True)
class SignalQuery:
    """A signal that some rule needs: over which time, for each value of which labels."""

    signal: SignalName
    over_s: float
    by: tuple[str, ...]


class Signal(Message):
    """One detector's value for one series at the end of one window.

    ``value`` None means that it cannot be told (no samples); ``samples`` is how many requests,
    scores or thumbs stand behind it. ``detail`` holds what a page or a ladder needs beside the
    value, such as ``traffic_ratio`` for cost.
    """

    schema_version: SchemaVersion
    signal: SignalName
    labels: Labels
    over_s: Annotated[float, Field(ge=0)]
    window_end_us: Micros
    value: float | None = None
    samples: Annotated[int, Field(ge=0)]
    baseline: float | None = None
    detector: Name
    detail: dict[str, float] = Field(default_factory=dict)
