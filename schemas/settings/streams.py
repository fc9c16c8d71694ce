"""The streaming core: windows, batches, prices, drift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from schemas.settings.section import Count, Port, PositiveSeconds, Seconds, Section

__all__ = ["DriftSettings", "PriceSettings", "StreamSettings"]


class StreamSettings(Section):
    """The streaming core: batches, windows, limits of time."""

    app_id: str = "tocsin"
    batch_bytes: Count = Field(
        default=4 * 1024 * 1024, description="records that one micro-batch takes together"
    )
    batch_within_s: PositiveSeconds = Field(
        default=0.1, description="the least time between two inserts of requests"
    )
    window_s: PositiveSeconds = 10
    flush_s: PositiveSeconds = Field(default=0.5, description="how often partials are sent on")
    lateness_s: Seconds = Field(default=2, description="how long a window waits for late events")
    correction_s: Seconds = Field(
        default=60,
        description="how long after its end a closed window is corrected; later events are counted",
    )
    idle_s: PositiveSeconds = Field(
        default=5,
        description="a partition read to its end and silent for so long holds the watermark back "
        "no more",
    )
    future_s: Seconds = Field(default=60, description="clock skew granted to event times")
    max_record_bytes: Count = 4 * 1024 * 1024
    dimensions: tuple[str, ...] = ("provider", "model", "model_version", "route", "feature")
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9464
    time_scale: PositiveSeconds = Field(
        default=1,
        description="divides every duration of rules and windows: a rehearsal in fast motion",
    )

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds of event time."""
        return round(self.window_s / self.time_scale * 1e6)

    @property
    def lateness_us(self) -> int:
        """Allowed lateness in microseconds of event time."""
        return round(self.lateness_s / self.time_scale * 1e6)

    @property
    def correction_us(self) -> int:
        """How long a closed window can be corrected, in microseconds of event time."""
        return round(self.correction_s / self.time_scale * 1e6)

    @property
    def idle_us(self) -> int:
        """Silence after which a partition is idle, in microseconds of the wall clock."""
        return round(self.idle_s / self.time_scale * 1e6)


class DriftSettings(Section):
    """Drift of prompt and output lengths against a frozen reference."""

    reference_requests: Count = 1_000
    current_requests: Count = 300
    psi_bins: Annotated[int, Field(ge=2, le=100)] = 10
    adwin_delta: Annotated[float, Field(gt=0, lt=1)] = 0.002


class PriceSettings(Section):
    """The price book; the guide's table ships with Tocsin."""

    path: Path | None = None
