"""A window of one series, complete as far as the watermark knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from detectors.sketch import DDSketch

__all__ = ["Window"]

_NANO: Final = Decimal(10) ** 9


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in one window of one series; figures as in WindowPartial.

    ``revision`` is 0 when the window first closes and grows with each correction, which replaces
    it whole. Rates are None when there is nothing to divide by.
    """

    start_us: int
    end_us: int
    labels: Mapping[str, str]
    revision: int = 0
    requests: int = 0
    errors: int = 0
    rejected: int = 0
    aborted: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    tokens_unknown: int = 0
    cost_nano_usd: int = 0
    cost_unknown: int = 0
    price_unknown: int = 0
    sketches: Mapping[str, DDSketch] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Return the window's length."""
        return (self.end_us - self.start_us) / 1e6

    @property
    def error_rate(self) -> float | None:
        """Return failed requests / all requests."""
        return self.errors / self.requests if self.requests else None

    @property
    def abort_rate(self) -> float | None:
        """Return requests whose client left / all requests."""
        return self.aborted / self.requests if self.requests else None

    @property
    def requests_per_s(self) -> float:
        """Return requests that ended, per second of the window."""
        return self.requests / self.seconds

    @property
    def output_tokens_per_s_total(self) -> float:
        """Return the series' throughput: known output tokens per second of the window."""
        return self.output_tokens / self.seconds

    @property
    def cost_usd(self) -> Decimal | None:
        """Return the exact cost of the requests of known price, None when there is none."""
        if self.requests <= self.cost_unknown:
            return None
        return self.cost_nano_usd / _NANO

    def p(self, name: str, q: float) -> float | None:
        """Return a quantile of a sketched quantity, None when no value is known."""
        sketch = self.sketches.get(name)
        return None if sketch is None else sketch.quantile(q)
