"""Which signals derive from which quantity: by baselines, budgets and detectors, and counts."""

from __future__ import annotations

from typing import Final

from schemas.signal import SIGNALS, SignalName

__all__ = ["ANOMALIES", "BURNS", "COUNTS", "RATIOS"]

RATIOS: Final[dict[SignalName, SignalName]] = {
    spec.of: name
    for name, spec in SIGNALS.items()
    if spec.of is not None and name.endswith("_ratio")
}
"""Quantity to the signal that compares it with its baseline."""

BURNS: Final[dict[SignalName, SignalName]] = {
    SignalName.ERROR_RATE: SignalName.ERROR_BURN,
    SignalName.ABORT_RATE: SignalName.ABORT_BURN,
}
"""Share of bad requests to the signal that says how fast it uses up an error budget."""

ANOMALIES: Final[dict[tuple[str, str], SignalName]] = {
    (name.removesuffix(f"_{detector}"), detector): name
    for name in SignalName
    for detector in ("mad", "adwin", "psi", "ks")
    if name.endswith(f"_{detector}")
}
"""(quantity, detector) to the signal; the lengths of prompts and outputs are quantities, too."""

COUNTS: Final = frozenset(
    {SignalName.REQUEST_COUNT, SignalName.SCORE_COUNT, SignalName.ENGINE_SAMPLE_COUNT}
)
"""How much data there is: the signals whose absence can be alerted on."""
