"""Decisions as episodes: when an alert fired, what it did, when it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from alerting.rehearsal import Said
from schemas.alert import AlertPhase, AlertTransition
from schemas.base import Labels

__all__ = ["Deed", "Episode", "compare", "episodes_of"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One step of an episode; ``act`` is the action asked for, None where people were told."""

    step: str
    at_us: int
    act: str | None


@dataclass(slots=True)
class Episode:
    """One incident; ``resolved_us`` is None when it was open at the end."""

    rule: str
    labels: Labels
    fired_us: int
    severity: str
    value: float | None
    resolved_us: int | None = None
    deeds: list[Deed] = field(default_factory=list)

    @property
    def series(self) -> str:
        """Return the labels in one line."""
        return ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items()))

    @property
    def acts(self) -> list[Deed]:
        """Return the steps that ask for an action."""
        return [deed for deed in self.deeds if deed.act is not None]


def episodes_of(said: Iterable[Said], since_us: int) -> list[Episode]:
    """Return the episodes that were open at some time after a moment, in order of their firing."""
    open_now: dict[str, Episode] = {}
    found: list[Episode] = []
    for item in said:
        transition = item.transition
        current = open_now.get(transition.fingerprint)
        if transition.to_phase is AlertPhase.FIRING and _begins(transition):
            current = Episode(
                transition.rule,
                transition.labels,
                transition.at_us,
                transition.severity.value,
                transition.value,
            )
            open_now[transition.fingerprint] = current
            found.append(current)
        elif current is None:
            continue
        elif transition.to_phase is AlertPhase.RESOLVED:
            current.resolved_us = transition.at_us
            del open_now[transition.fingerprint]
        elif transition.step is not None and (
            item.request is not None or transition.reason.endswith("tell people")
        ):
            act = item.request.kind.value if item.request is not None else None
            current.deeds.append(Deed(transition.step, transition.at_us, act))
    return [e for e in found if e.resolved_us is None or e.resolved_us > since_us]


def _begins(transition: AlertTransition) -> bool:
    return transition.from_phase in (
        AlertPhase.INACTIVE,
        AlertPhase.PENDING,
        AlertPhase.RESOLVED,
    )


def compare(
    before: Sequence[Episode], after: Sequence[Episode]
) -> tuple[list[Episode], list[Episode]]:
    """Return the episodes of either side that overlap none of the other's for rule and series.

    Returns:
        (only before, only after).
    """
    return _alone(before, after), _alone(after, before)


def _alone(mine: Sequence[Episode], theirs: Sequence[Episode]) -> list[Episode]:
    by_key: dict[tuple[str, str], list[Episode]] = {}
    for episode in theirs:
        by_key.setdefault((episode.rule, episode.series), []).append(episode)
    return [
        episode
        for episode in mine
        if not any(
            _overlap(episode, other) for other in by_key.get((episode.rule, episode.series), ())
        )
    ]


def _overlap(one: Episode, other: Episode) -> bool:
    never = 2**62
    return one.fired_us <= (other.resolved_us or never) and other.fired_us <= (
        one.resolved_us or never
    )
