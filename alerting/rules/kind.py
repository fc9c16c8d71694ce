"""The kinds of rules, and which signal each judges.

A rule is written about a quantity. Its kind says how the quantity is judged, and makes of it the
one signal that the state machine compares with the rule's condition:

- ``threshold``: the quantity itself.
- ``baseline``: its ratio to the trailing baseline of the same series, such as ``> 2x``.
- ``anomaly``: what a detector says about it. ``mad`` gives the distance from the median in robust
  standard deviations, ``adwin`` 1 when the mean moved, ``psi`` and ``ks`` the distance of two
  distributions of token lengths.
- ``burn_rate``: how fast it uses up an error budget, in a long and a short lookback both (Google's
  SRE workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts").
- ``absence``: whether there is any data at all.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final

from alerting.rules.fault import RuleFault
from schemas.derived import ANOMALIES, BURNS, COUNTS, RATIOS
from schemas.signal import SignalName

__all__ = ["RuleKind", "resolve_kind", "unknown_name"]


class RuleKind(StrEnum):
    """How a rule judges its quantity."""

    THRESHOLD = "threshold"
    BASELINE = "baseline"
    ANOMALY = "anomaly"
    BURN_RATE = "burn_rate"
    ABSENCE = "absence"


_OWN_KEYS: Final = {
    "detector": RuleKind.ANOMALY,
    "objective": RuleKind.BURN_RATE,
    "short": RuleKind.BURN_RATE,
}
_USUAL: Final = {"mad": "> 3.5", "adwin": "> 0.5", "psi": "> 0.2"}


def unknown_name(what: str, name: object, known: Collection[str]) -> str:
    """Return what to say about a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(str(name), [str(item) for item in known], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"no {what} {name!r}{hint}; known are {', '.join(sorted(known))}"


def resolve_kind(written: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a rule's keys with the signal that its kind judges in place of the quantity.

    Usual values are filled in where the kind has them. Unknown kinds and signals stay, for the
    fields' own checks to refuse.

    Raises:
        RuleFault: a key of another kind, a missing one, or a quantity that the kind cannot judge.
    """
    data = dict(written)
    try:
        kind = RuleKind(data.get("kind", RuleKind.THRESHOLD))
    except ValueError:
        return data
    for key, owner in _OWN_KEYS.items():
        if key in data and kind is not owner:
            raise RuleFault(key, expected=f"this key belongs to rules of kind {owner}")
    quantity = data.get("signal")
    if not isinstance(quantity, str):
        return data
    match kind:
        case RuleKind.BASELINE:
            data["signal"] = _derived("signal", quantity, RATIOS, "baseline")
        case RuleKind.BURN_RATE:
            data["signal"] = _derived("signal", quantity, BURNS, "error budget")
            for key in ("objective", "short"):
                if key not in data:
                    raise RuleFault("kind", expected=f"a burn rate needs {key!r}")
        case RuleKind.ANOMALY:
            _anomaly(data, quantity)
        case RuleKind.ABSENCE:
            if quantity not in COUNTS:
                raise RuleFault(
                    "signal",
                    expected=f"the absence of data is told by {', '.join(sorted(COUNTS))}, "
                    f"not by {quantity!r}",
                )
            data.setdefault("condition", "< 1")
            if data.setdefault("min_samples", 0) != 0:
                raise RuleFault("min_samples", expected="expected 0 or no such key: none are there")
        case RuleKind.THRESHOLD:
            pass
    return data


def _derived(key: str, quantity: str, known: Mapping[SignalName, SignalName], what: str) -> str:
    if quantity in known.values():
        return quantity
    for base, derived in known.items():
        if base == quantity:
            return derived.value
    raise RuleFault(
        key, expected=f"there is no {what} of {quantity!r}; there is of {', '.join(known)}"
    )


def _anomaly(data: dict[Any, Any], quantity: str) -> None:
    detector = data.get("detector")
    if quantity in ANOMALIES.values():  # told by its full name
        quantity, found = next(k for k, name in ANOMALIES.items() if name == quantity)
        if detector not in (None, found):
            raise RuleFault("detector", expected=f"the signal named is that of {found!r}")
        detector = found
    there = [name for base, name in ANOMALIES if base == quantity]
    if not there:
        bases = sorted({base for base, _ in ANOMALIES})
        raise RuleFault(
            "signal",
            expected=f"no detector watches {quantity!r}; they watch {', '.join(bases)}",
        )
    if detector is None:
        raise RuleFault("kind", expected=f"an anomaly needs 'detector': {' or '.join(there)}")
    if detector not in there:
        raise RuleFault(
            "detector",
            expected=f"no detector {detector!r} for {quantity}; there is {' and '.join(there)}",
        )
    data["detector"] = detector
    data["signal"] = ANOMALIES[quantity, detector].value
    if detector in _USUAL:
        data.setdefault("condition", _USUAL[detector])
