"""Inhibition: alerts that are not told while one fires that explains them. Pure.

The semantics are Alertmanager's: a target is muted while some other alert fires that fulfils the
source's matchers and has the same values of the equal labels, where a missing label counts as
empty. An alert that is source and target of a rule at once is muted only by one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from alerting.rules.scope import Matcher
from schemas.base import Labels

__all__ = ["Inhibition", "Inhibitor"]

_Key = tuple[int, tuple[str, ...]]


class Inhibition(Protocol):
    """One rule of inhibition, as data."""

    @property
    def source_matchers(self) -> Sequence[Matcher]:
        """Return what the alert that explains fulfils."""

    @property
    def target_matchers(self) -> Sequence[Matcher]:
        """Return what an alert that is explained by it fulfils."""

    @property
    def equal(self) -> Sequence[str]:
        """Return the labels whose values both share."""


class Inhibitor:
    """What the alerts that fire mute; adding, removing and asking each look at every rule once."""

    def __init__(self, inhibitions: Sequence[Inhibition] = ()) -> None:
        self._inhibitions: Final = tuple(inhibitions)
        self._sources: dict[_Key, dict[str, bool]] = {}
        """Names of the firing sources, and whether each is a target as well."""

    def add(self, name: str, labels: Labels) -> None:
        """Note that an alert fires."""
        for key, both in self._keys(labels):
            self._sources.setdefault(key, {})[name] = both

    def discard(self, name: str, labels: Labels) -> None:
        """Note that an alert fires no more."""
        for key, _ in self._keys(labels):
            sources = self._sources.get(key, {})
            sources.pop(name, None)
            if not sources:
                self._sources.pop(key, None)

    def muted_by(self, labels: Labels) -> str | None:
        """Return the name of a firing alert that mutes one with these labels; None without."""
        for number, rule in enumerate(self._inhibitions):
            if not _fulfils(rule.target_matchers, labels):
                continue
            sources = self._sources.get((number, _values(rule.equal, labels)), {})
            if not _fulfils(rule.source_matchers, labels):
                if sources:
                    return next(iter(sources))
                continue
            pure = next((name for name, both in sources.items() if not both), None)
            if pure is not None:
                return pure
        return None

    def _keys(self, labels: Labels) -> Iterator[tuple[_Key, bool]]:
        for number, rule in enumerate(self._inhibitions):
            if _fulfils(rule.source_matchers, labels):
                both = _fulfils(rule.target_matchers, labels)
                yield (number, _values(rule.equal, labels)), both


def _fulfils(matchers: Sequence[Matcher], labels: Labels) -> bool:
    return bool(matchers) and all(matcher.matches(labels) for matcher in matchers)


def _values(names: Sequence[str], labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in names)
