"""A fault that knows which key of a rule it is about."""

from __future__ import annotations

__all__ = ["RuleFault"]


class RuleFault(ValueError):  # noqa: N818 - pydantic takes it as a ValueError and keeps it
    """A value of a rule does not fit the others; ``path`` leads from the rule to the key."""

    def __init__(self, *path: str | int, expected: str) -> None:
        super().__init__(expected)
        self.path = path
