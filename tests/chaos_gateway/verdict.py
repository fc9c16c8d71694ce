"""Hold events to what clients saw. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.event import RequestEvent
from tests.chaos_gateway.client import Outcome, Seen

__all__ = ["Verdict", "judge"]


@dataclass
class Verdict:
    """What was found; without `faults` all promises were kept."""

    requests: int = 0
    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_requests: int = 0
    dead_errors: int = 0
    most_ejected: int = 0
    back: bool = False
    faults: list[str] = field(default_factory=list)

    @property
    def dead_error_rate(self) -> float:
        """Return the share of errors that clients saw while one provider was dead."""
        return self.dead_errors / self.dead_requests if self.dead_requests else 0.0


def judge(
    seen: Sequence[Seen],
    while_dead: Iterable[Seen],
    events: Iterable[RequestEvent],
    *,
    most_ejected: int,
    cap: int,
    back: bool,
    error_rate: float,
) -> Verdict:
    """Return the verdict.

    Args:
        seen: every request.
        while_dead: those begun while one of two providers was dead.
        events: all that were emitted.
        most_ejected: upstreams out of rotation at once, at most.
        cap: how many may be.
        back: whether the provider that was dead has answered again in the end.
        error_rate: the most of `while_dead` that may have failed.
    """
    by_id: dict[str, list[RequestEvent]] = {}
    for event in events:
        by_id.setdefault(event.request_id, []).append(event)
    dead = [s for s in while_dead if s.outcome is not Outcome.LEFT]
    verdict = Verdict(
        requests=len(seen),
        events=sum(map(len, by_id.values())),
        outcomes=Counter(s.outcome for s in seen),
        dead_requests=len(dead),
        dead_errors=sum(1 for s in dead if s.outcome in (Outcome.ERROR, Outcome.BROKEN)),
        most_ejected=most_ejected,
        back=back,
    )
    faults = verdict.faults
    for request in seen:
        own = by_id.pop(request.request_id, [])
        if len(own) != 1:
            faults.append(f"{request.request_id}: {len(own)} events ({request.outcome})")
        elif (wrong := _contradiction(request, own[0])) is not None:
            faults.append(f"{request.request_id}: {wrong}")
    faults += [f"{request_id}: an event of no request" for request_id in by_id]
    if broken := verdict.outcomes[Outcome.BROKEN]:
        faults.append(f"{broken} connections ended without a word")
    if verdict.dead_error_rate > error_rate:
        faults.append(f"{verdict.dead_error_rate:.2%} of clients saw errors with a provider dead")
    if most_ejected > cap:
        faults.append(f"{most_ejected} upstreams were ejected at once, {cap} may be")
    if not back:
        faults.append("the provider that was dead has not answered again")
    return verdict


def _contradiction(seen: Seen, event: RequestEvent) -> str | None:
    """Return what an event says wrongly of a request, or None."""
    if seen.outcome is Outcome.OK and (event.error_type or event.aborted):
        return f"went well, but its event says {event.error_type or 'aborted'}"
    if seen.outcome is Outcome.ERROR and not event.error_type:
        return "failed, but its event says that it went well"
    if seen.outcome is Outcome.REJECTED and not event.rejected:
        return f"was rejected, but its event has status {event.status_code}"
    if seen.status and seen.status != event.status_code and not event.aborted:
        return f"had status {seen.status}, but its event {event.status_code}"
    return None
