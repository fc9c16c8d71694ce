"""What a detector says about one series, and the catalogue of what it may say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["HELD", "SIGNALS", "Signal", "SignalName", "SignalQuery", "SignalSpec"]


HELD: Final = "watermark_held"
"""The detector of a lag that is said between evaluations, for windows do not close."""


class SignalName(StrEnum):
    """Every signal that a rule may name; ``schemas/derived.py`` says which derive from which."""

    ERROR_RATE = "error_rate"
    ABORT_RATE = "abort_rate"
    FALLBACK_RATE = "fallback_rate"
    REQUEST_RATE = "request_rate"
    REQUEST_COUNT = "request_count"
    TTFT_P95 = "ttft_p95"
    E2E_P95 = "e2e_p95"
    TPOT_P95 = "tpot_p95"
    OUTPUT_TOKENS_PER_S = "output_tokens_per_s"
    COST_RATE = "cost_rate"
    UNKNOWN_PRICE_RATE = "unknown_price_rate"

    ERROR_RATE_RATIO = "error_rate_ratio"
    REQUEST_RATE_RATIO = "request_rate_ratio"
    TTFT_P95_RATIO = "ttft_p95_ratio"
    E2E_P95_RATIO = "e2e_p95_ratio"
    TPOT_P95_RATIO = "tpot_p95_ratio"
    OUTPUT_TOKENS_PER_S_RATIO = "output_tokens_per_s_ratio"
    COST_RATE_RATIO = "cost_rate_ratio"

    ERROR_BURN = "error_burn"
    ABORT_BURN = "abort_burn"

    ERROR_RATE_MAD = "error_rate_mad"
    REQUEST_RATE_MAD = "request_rate_mad"
    TTFT_P95_MAD = "ttft_p95_mad"
    E2E_P95_MAD = "e2e_p95_mad"
    TPOT_P95_MAD = "tpot_p95_mad"
    OUTPUT_TOKENS_PER_S_MAD = "output_tokens_per_s_mad"
    COST_RATE_MAD = "cost_rate_mad"

    ERROR_RATE_ADWIN = "error_rate_adwin"
    REQUEST_RATE_ADWIN = "request_rate_adwin"
    TTFT_P95_ADWIN = "ttft_p95_adwin"
    E2E_P95_ADWIN = "e2e_p95_adwin"
    TPOT_P95_ADWIN = "tpot_p95_adwin"
    OUTPUT_TOKENS_PER_S_ADWIN = "output_tokens_per_s_adwin"
    COST_RATE_ADWIN = "cost_rate_adwin"

    QUALITY_SCORE = "quality_score"
    SCORE_COUNT = "score_count"
    FEEDBACK_POSITIVE_RATE = "feedback_positive_rate"
    INPUT_TOKENS_PSI = "input_tokens_psi"
    OUTPUT_TOKENS_PSI = "output_tokens_psi"
    INPUT_TOKENS_KS = "input_tokens_ks"
    OUTPUT_TOKENS_KS = "output_tokens_ks"
    INPUT_TOKENS_ADWIN = "input_tokens_adwin"
    OUTPUT_TOKENS_ADWIN = "output_tokens_adwin"

    GPU_UTILIZATION = "gpu_utilization"
    KV_CACHE_USAGE = "kv_cache_usage"
    WAITING_REQUESTS = "waiting_requests"
    PREFIX_CACHE_HIT_RATE = "prefix_cache_hit_rate"
    SPEC_DECODE_ACCEPTANCE_RATE = "spec_decode_acceptance_rate"
    ENGINE_SAMPLE_COUNT = "engine_sample_count"

    WATERMARK_LAG = "watermark_lag"


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """Unit and meaning of a signal, for rules, pages and the documentation.

    ``details`` are the names that its ``detail`` may hold; ``of`` is the quantity that a derived
    signal is about; ``labels`` are those that it can be asked by, None where the dimensions of the
    windows decide.
    """

    unit: str
    meaning: str
    details: tuple[str, ...] = ()
    of: SignalName | None = None
    labels: frozenset[str] | None = None


_ENGINE_LABELS = frozenset({"server", "engine_index", "model"})
_N = SignalName
_COVERED = ("covered_s",)
_ENGINE_DETAILS = ("lowest", "highest")
_COST = ("usd", "cost_unknown", "covered_s")

SIGNALS: dict[SignalName, SignalSpec] = {
    _N.ERROR_RATE: SignalSpec("ratio", "failed requests / all requests", ("errors",)),
    _N.ABORT_RATE: SignalSpec("ratio", "requests whose client left / all requests", ("aborted",)),
    _N.FALLBACK_RATE: SignalSpec(
        "ratio",
        "requests that something else answered than what is in force / all requests",
        ("fallbacks", *_COVERED),
    ),
    _N.REQUEST_RATE: SignalSpec("1/s", "requests per second", _COVERED),
    _N.REQUEST_COUNT: SignalSpec(
        "requests", "requests in the lookback; 0 is known once a series was seen", _COVERED
    ),
    _N.TTFT_P95: SignalSpec("s", "95th percentile of the time to first token"),
    _N.E2E_P95: SignalSpec("s", "95th percentile of the request duration"),
    _N.TPOT_P95: SignalSpec("s", "95th percentile of the time per output token"),
    _N.OUTPUT_TOKENS_PER_S: SignalSpec(
        "tokens/s", "decode speed that the median request saw: 1 / P50 of time per output token"
    ),
    _N.COST_RATE: SignalSpec("USD/h", "cost of the known-price requests, per hour", _COST),
    _N.UNKNOWN_PRICE_RATE: SignalSpec(
        "ratio", "requests of unknown price / all requests", ("price_unknown",)
    ),
    _N.QUALITY_SCORE: SignalSpec(
        "score",
        "mean judge score, 0 (worst) to 1 (best)",
        ("unscored", "ci_low", "ci_high"),
    ),
    _N.SCORE_COUNT: SignalSpec("scores", "requests judged in the lookback", ("unscored",)),
    _N.FEEDBACK_POSITIVE_RATE: SignalSpec(
        "ratio",
        "thumbs up / all thumbs",
        ("without_thumb", "ci_low", "ci_high"),
        labels=frozenset({"provider", "model", "model_version", "feature"}),
    ),
    _N.INPUT_TOKENS_PSI: SignalSpec(
        "psi", "population stability of prompt lengths", ("reference_samples",)
    ),
    _N.OUTPUT_TOKENS_PSI: SignalSpec(
        "psi", "population stability of output lengths", ("reference_samples",)
    ),
    _N.INPUT_TOKENS_KS: SignalSpec(
        "D", "two-sample KS statistic of prompt lengths", ("reference_samples", "p_value")
    ),
    _N.OUTPUT_TOKENS_KS: SignalSpec(
        "D", "two-sample KS statistic of output lengths", ("reference_samples", "p_value")
    ),
    _N.INPUT_TOKENS_ADWIN: SignalSpec(
        "bool", "1 when ADWIN finds that the mean prompt length moved", ("changes", "mean_tokens")
    ),
    _N.OUTPUT_TOKENS_ADWIN: SignalSpec(
        "bool", "1 when ADWIN finds that the mean output length moved", ("changes", "mean_tokens")
    ),
    _N.GPU_UTILIZATION: SignalSpec(
        "ratio", "mean GPU utilisation of an engine", _ENGINE_DETAILS, labels=_ENGINE_LABELS
    ),
    _N.KV_CACHE_USAGE: SignalSpec(
        "ratio", "mean use of the KV cache", _ENGINE_DETAILS, labels=_ENGINE_LABELS
    ),
    _N.WAITING_REQUESTS: SignalSpec(
        "requests", "mean length of the queue", _ENGINE_DETAILS, labels=_ENGINE_LABELS
    ),
    _N.PREFIX_CACHE_HIT_RATE: SignalSpec(
        "ratio",
        "mean share of prompt tokens found in the prefix cache",
        _ENGINE_DETAILS,
        labels=_ENGINE_LABELS,
    ),
    _N.SPEC_DECODE_ACCEPTANCE_RATE: SignalSpec(
        "ratio",
        "mean share of drafted tokens that were accepted",
        _ENGINE_DETAILS,
        labels=_ENGINE_LABELS,
    ),
    _N.ENGINE_SAMPLE_COUNT: SignalSpec(
        "samples", "samples that an engine sent in the lookback", labels=_ENGINE_LABELS
    ),
    _N.WATERMARK_LAG: SignalSpec("s", "wall clock - watermark of the windows", labels=frozenset()),
}

_CHANGES = (
    "value",
    "traffic_ratio",
    "tokens_per_request_ratio",
    "usd_per_token_ratio",
    "unexplained_ratio",
)


def _derive(base: SignalName) -> None:
    spec = SIGNALS[base]
    names = {name.value: name for name in SignalName}
    if name := names.get(f"{base}_ratio"):
        what = f"{base} / its baseline"
        SIGNALS[name] = SignalSpec("x", what, (*spec.details, *_CHANGES), base)
    if name := names.get(f"{base}_mad"):
        what = f"{base}: distance from its median, in robust standard deviations"
        SIGNALS[name] = SignalSpec("sigma", what, (*spec.details, "value"), base)
    if (name := names.get(f"{base}_adwin")) and name not in SIGNALS:
        what = f"1 when ADWIN finds that the mean of {base} moved"
        SIGNALS[name] = SignalSpec("bool", what, (*spec.details, "value", "changes", "mean"), base)


for _base in list(SIGNALS):
    _derive(_base)

for _burn, _share in ((_N.ERROR_BURN, _N.ERROR_RATE), (_N.ABORT_BURN, _N.ABORT_RATE)):
    SIGNALS[_burn] = SignalSpec(
        "x",
        f"how many times too fast {_share} uses up its budget, in a long and a short lookback both",
        (*SIGNALS[_share].details, "long", "short", "short_samples", "short_s", "objective"),
        _share,
    )


@dataclass(frozen=True, slots=True)
class SignalQuery:
    """A signal that some rule needs: over which time, for each value of which labels.

    Only a burn rate has ``short_s``, its second lookback, and ``objective``, the share of good
    requests that was promised.
    """

    signal: SignalName
    over_s: float
    by: tuple[str, ...]
    short_s: float = 0.0
    objective: float = 0.0


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
