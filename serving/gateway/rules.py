"""Route by complexity: a table of conditions on a request, the first that holds decides. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Name

__all__ = ["Facts", "Rule", "choose"]

_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request shows of how much it asks."""

    prompt_chars: int = 0
    messages: int = 0
    max_tokens: int | None = None
    tools: bool = False
    images: bool = False
    reasoning: bool = False
    plan: str | None = None
    feature: str | None = None


class Rule(BaseModel):
    """A row of the table: the model to use when every condition given holds.

    A limit on `max_tokens` does not hold for a request that sets none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: Name
    prompt_chars_over: _Count | None = None
    messages_over: _Count | None = None
    max_tokens_over: _Count | None = None
    tools: bool | None = None
    images: bool | None = None
    reasoning: bool | None = None
    plan: Name | None = None
    feature: Name | None = None

    @property
    def always(self) -> bool:
        """Tell whether the row has no condition."""
        return self.model_dump(exclude={"use"}, exclude_none=True) == {}

    def holds(self, facts: Facts) -> bool:
        """Tell whether all conditions hold."""
        over = (
            (self.prompt_chars_over, facts.prompt_chars),
            (self.messages_over, facts.messages),
            (self.max_tokens_over, facts.max_tokens),
        )
        same = (
            (self.tools, facts.tools),
            (self.images, facts.images),
            (self.reasoning, facts.reasoning),
            (self.plan, facts.plan),
            (self.feature, facts.feature),
        )
        return all(limit is None or (n is not None and n > limit) for limit, n in over) and all(
            wanted is None or wanted == found for wanted, found in same
        )


def choose(rules: Sequence[Rule], facts: Facts, *, enabled: bool) -> str:
    """Return the model for a request; with the table switched off, the one of its last row."""
    if not enabled:
        return rules[-1].use
    return next(rule.use for rule in rules if rule.holds(facts))
