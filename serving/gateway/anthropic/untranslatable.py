"""The one error of a translation: a parameter that has no counterpart."""

from __future__ import annotations

__all__ = ["UntranslatableError"]


class UntranslatableError(ValueError):
    """A request asks for what Anthropic's API cannot be asked for.

    Args:
        param: the parameter at fault, as a path such as `messages[2].content`.
        reason: for people; holds nothing of what a user wrote.
    """

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(f"{param}: {reason}")
        self.param = param
        self.reason = reason
