"""What differs between two sets of rules, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alerting.rules.condition import Condition
from alerting.rules.duration import format_duration
from alerting.rules.ruleset import RuleSet
from alerting.rules.step import Data, Step

__all__ = ["diff_rules"]


def diff_rules(old: RuleSet, new: RuleSet) -> tuple[str, ...]:
    """Return one line for each difference: what is new, gone, or another value.

    Examples:
        ``- rule decode-slow``, ``+ rule gpu-idle``, ``~ rule error-rate: for: 0s -> 5m``
    """
    return (
        *_named("rule", old.rules, new.rules),
        *_named("inhibition", old.inhibitions, new.inhibitions),
    )


def _named(what: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    before, after = {item.name: item for item in old}, {item.name: item for item in new}
    for name in before.keys() - after.keys():
        yield f"- {what} {name}"
    for name, item in after.items():
        if name not in before:
            yield f"+ {what} {name}"
        else:
            for key, was, now in _fields(before[name], item):
                yield f"~ {what} {name}: {key}: {was} -> {now}"


def _fields(old: Data, new: Data) -> Iterator[tuple[str, str, str]]:
    for name, field in type(new).model_fields.items():
        was, now = getattr(old, name), getattr(new, name)
        key = field.alias or name
        if _plain(was) == _plain(now):
            continue
        if name == "ladder":
            yield from _ladder(was, now)
        elif name.endswith("_s"):
            yield key, _duration(was), _duration(now)
        else:
            yield key, _text(was), _text(now)


def _ladder(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    before, after = {step.name: step for step in old}, {step.name: step for step in new}
    for name in before.keys() - after.keys():
        yield f"ladder: {name}", before[name].describe(), "gone"
    for name, step in after.items():
        if name not in before:
            yield f"ladder: {name}", "none", f"{step.describe()} after {_duration(step.after_s)}"
        else:
            for key, was, now in _fields(before[name], step):
                yield f"ladder: {name}: {key}", was, now
    if before.keys() == after.keys() and list(before) != list(after):
        yield "ladder: order", ", ".join(before), ", ".join(after)


def _duration(seconds: float | None) -> str:
    return "none" if seconds is None else format_duration(seconds)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return "none" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Return a value without the units that its thresholds were written in."""
    if isinstance(value, Condition):
        return value.model_copy(update={"unit": None})
    if isinstance(value, Step):
        return value.model_copy(update={"when": _plain(value.when)})
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value
