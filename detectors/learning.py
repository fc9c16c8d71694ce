"""What an answer does whose groups each have a learner: a baseline or an anomaly detector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Generic, Protocol, Self, TypeVar

from detectors.memory import Memory
from detectors.sliding import Group

__all__ = ["Learner", "Learning"]


class Learner(Protocol):
    """What learns of one group, look by look."""

    @property
    def last_us(self) -> int:
        """Return when it last learnt something."""


L = TypeVar("L", bound=Learner)


class Learning(ABC, Generic[L]):
    """Keeps a learner for each group, and what they learnt since somebody asked."""

    def __init__(self) -> None:
        self._learners: dict[Group, L] = {}
        self._learnt: list[Memory] = []

    @abstractmethod
    def _begin(self) -> L:
        """Return a learner that knows nothing."""

    @abstractmethod
    def _restore(self, learner: L, memories: Sequence[Memory]) -> None:
        """Give a learner what was learnt, oldest first; raises SnapshotError if it was not."""

    def learner(self, group: Group) -> L:
        """Return a group's learner, a new one if need be."""
        learner = self._learners.get(group)
        if learner is None:
            learner = self._learners[group] = self._begin()
        return learner

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Forget the learners of groups that are gone."""
        for group in [g for g, one in self._learners.items() if one.last_us <= limit_us]:
            if group not in groups:
                del self._learners[group]

    def take_over(self, other: object) -> None:
        """Go on with another's learners."""
        if isinstance(other, type(self)):
            self._go_on(other)

    def memories(self) -> list[Memory]:
        """Return what was learnt since the last call."""
        learnt, self._learnt = self._learnt, []
        return learnt

    def recall(self, group: Group, memories: Sequence[Memory]) -> None:
        """Take over what a group's learner had learnt, oldest first.

        Raises:
            SnapshotError: it had not learnt that.

        """
        learner = self._begin()
        self._restore(learner, memories)
        self._learners[group] = learner

    def _go_on(self, other: Self) -> None:
        self._learners, self._learnt = other._learners, other._learnt
