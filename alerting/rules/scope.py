"""Label matchers: ``model=llama``, ``route!=canary``, ``plan=~pro|team``."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from schemas.base import Labels

__all__ = ["Matcher", "ScopeMatcher"]

_SHAPE: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)


class Matcher(BaseModel):
    """One condition on one label; patterns must match the whole value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read a matcher.

        Raises:
            ValueError: the text is no matcher or its pattern no regular expression.
        """
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no matcher; write it as model=llama, route!=canary or plan=~pro|team"
            )
        op: Any = match[2]
        matcher = cls(label=match[1], op=op, value=match[3].strip('"'))
        if "~" in op:
            try:
                re.compile(matcher.value)
            except re.error as error:
                raise ValueError(f"{text!r}: no regular expression: {error}") from None
        return matcher

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.value if "~" in self.op else re.escape(self.value))

    def matches(self, labels: Labels) -> bool:
        """Tell whether the labels fulfil the matcher; a missing label counts as empty."""
        found = self._pattern.fullmatch(labels.get(self.label, "")) is not None
        return found is not self.op.startswith("!")

    def __str__(self) -> str:
        return f"{self.label}{self.op}{self.value}"


def _parse(value: object) -> object:
    return Matcher.parse(value) if isinstance(value, str) else value


ScopeMatcher = Annotated[Matcher, BeforeValidator(_parse)]
"""A matcher written as text in a rules file."""
