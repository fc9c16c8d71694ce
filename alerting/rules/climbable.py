"""Whether every step of a ladder can ever be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alerting.rules.condition import Condition
from alerting.rules.duration import format_duration
from alerting.rules.fault import RuleFault
from alerting.rules.step import Step
from schemas.signal import SignalSpec

__all__ = ["check_ladder"]

_DAY_S: Final = 86_400


def check_ladder(
    ladder: Sequence[Step],
    condition: Condition,
    over_s: float,
    spec: SignalSpec,
    *,
    may_act: bool = True,
) -> None:
    """Refuse a ladder with a step that could never be taken, or never be judged.

    ``may_act`` is False for rules on the absence of data, on which no action may rest.

    Raises:
        RuleFault: names the step's key and what was expected.
    """
    before = 0.0
    names: set[str] = set()
    for index, step in enumerate(ladder):
        where = f"step {step.name!r}: "
        if step.name in names:
            raise RuleFault(
                "ladder", index, "name", expected=f"{where}a step of that name stands before it"
            )
        names.add(step.name)
        if step.after_s < before:
            raise RuleFault(
                "ladder",
                index,
                "after",
                expected=f"{where}'after' is shorter than that of the step before it",
            )
        before = step.after_s
        if step.act is not None and not may_act:
            raise RuleFault(
                "ladder",
                index,
                "act",
                expected=f"{where}expected 'notify': no action rests on the absence of data",
            )
        _check_when(index, step, condition, spec)
        _check_verification(index, step, over_s)


def _check_when(index: int, step: Step, condition: Condition, spec: SignalSpec) -> None:
    where = f"step {step.name!r}: "
    for number, wanted in enumerate(step.when):
        others = (condition, *step.when[:number])
        if clash := next((other for other in others if wanted.excludes(other)), None):
            holds = "while the alert fires" if clash is condition else "together with another"
            raise RuleFault(
                "ladder",
                index,
                "when",
                expected=f"{where}unreachable: {wanted} never holds {holds} ({clash})",
            )
        if wanted.detail is not None and wanted.detail not in spec.details:
            known = ", ".join(spec.details) or "none"
            raise RuleFault(
                "ladder",
                index,
                "when",
                expected=f"{where}unreachable: the signal has no detail {wanted.detail!r}; "
                f"it has {known}",
            )
        if wanted.detail is None and not wanted.fits(spec.unit):
            raise RuleFault(
                "ladder",
                index,
                "when",
                expected=f"{where}the signal has the unit {spec.unit}, not {wanted.unit}",
            )


def _check_verification(index: int, step: Step, over_s: float) -> None:
    within_s = step.verify_within_s
    if within_s is None:
        return
    where = f"step {step.name!r}: "
    if within_s > _DAY_S:
        raise RuleFault(
            "ladder",
            index,
            "verify_within",
            expected=f"{where}'verify_within' is longer than a day",
        )
    if within_s <= over_s:
        raise RuleFault(
            "ladder",
            index,
            "verify_within",
            expected=f"{where}'verify_within' ({format_duration(within_s)}) must be "
            f"longer than 'over' ({format_duration(over_s)}): until then the value "
            "still holds samples from before the action",
        )
