"""How an alert that comes and goes is damped."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from alerting.rules.step import Data, DurationText

__all__ = ["Damping"]

_MOST_DOUBLINGS = 10


class Damping(Data):
    """From the ``episodes``-th episode ``within`` a time on, an alert must be good for longer.

    How long doubles with each further episode, up to ``within_s``: what flaps becomes one incident
    that stays open, instead of a page for each swing. 0 episodes is no damping.
    """

    episodes: Annotated[int, Field(ge=0)] = 3
    within_s: DurationText = Field(default=3_600.0, alias="within")

    def scaled(self, factor: float) -> Damping:
        """Return the same with its duration divided by a factor."""
        return self.model_copy(update={"within_s": self.within_s / factor})

    def flaps(self, episodes: int) -> bool:
        """Tell whether so many episodes are flapping."""
        return 0 < self.episodes <= episodes

    def hold_s(self, episodes: int, usual_s: float, least_s: float) -> float:
        """Return how long an alert must be good before it resolves.

        Args:
            episodes: how often it has fired within the time, this one included.
            usual_s: how long when it does not flap.
            least_s: what is doubled, should it be longer than ``usual_s``.

        Examples:
            >>> damping = Damping()
            >>> [damping.hold_s(n, 60, 300) for n in (1, 2, 3, 4, 9)]
            [60, 60, 600.0, 1200.0, 3600.0]
        """
        if not self.flaps(episodes):
            return usual_s
        doublings = min(episodes - self.episodes + 1, _MOST_DOUBLINGS)
        return max(usual_s, min(max(usual_s, least_s) * 2.0**doublings, self.within_s))
