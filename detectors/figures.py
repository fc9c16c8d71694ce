"""The additive figures and the sketches of a window, in the one order that everything uses."""

from __future__ import annotations

from typing import Final

__all__ = ["COUNTS", "SKETCHES"]

COUNTS: Final = (
    "requests",
    "errors",
    "rejected",
    "aborted",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "tokens_unknown",
    "cost_nano_usd",
    "cost_unknown",
    "price_unknown",
)
"""The integers of WindowPartial: partials of one window and series add up figure by figure."""

SKETCHES: Final = ("ttft_s", "e2e_s", "tpot_s", "input_tokens", "output_tokens")
"""Sketched quantities, by RequestEvent's field name; each holds every row whose value is known."""
