"""Texts of rules: ``{name}`` and ``{name:.1%}`` over a fixed set of names, nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from string import Formatter
from typing import Final

__all__ = ["NUMBERS", "check_template", "render_template"]

NUMBERS: Final = ("value", "baseline", "threshold", "samples")
"""Names that every rule's templates know beside its labels, ``rule`` and ``over``."""

_SPEC: Final = re.compile(r"(,?(\.\d{1,2})?[efg%]|,|,?d)?")
_UNKNOWN: Final = "unknown"


def check_template(text: str, names: Collection[str]) -> None:
    """Refuse a template that could not be rendered.

    Raises:
        ValueError: an unknown name, an attribute or index access, or a bad format.
    """
    try:
        fields = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"the template does not render: {error}") from None
    for _, name, spec, conversion in fields:
        if name is None:
            continue
        if name not in names:
            raise ValueError(
                f"the template names {{{name}}}; known here are {', '.join(sorted(names))}"
            )
        if conversion or not _SPEC.fullmatch(spec or ""):
            raise ValueError(
                f"the template's format {{{name}:{spec}}} is not one such as {{value:.1%}}"
            )
        if spec and name not in NUMBERS:
            raise ValueError(f"the template formats {{{name}}} as a number, but it is a text")
        if spec and spec.endswith("d") and name != "samples":
            raise ValueError(f"the template formats {{{name}}} as an integer, but it is a float")


def render_template(text: str, values: Mapping[str, object]) -> str:
    """Render a checked template; what is None or missing reads ``unknown``."""
    parts = []
    for literal, name, spec, _ in Formatter().parse(text):
        parts.append(literal)
        if name is None:
            continue
        value = values.get(name)
        if value is None:
            parts.append(_UNKNOWN)
        elif isinstance(value, int | float):
            parts.append(format(value, spec or ("g" if isinstance(value, float) else "d")))
        else:
            parts.append(str(value) or _UNKNOWN)
    return "".join(parts)
