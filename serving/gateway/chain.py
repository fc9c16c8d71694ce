"""Ask upstreams one after the other until one answers, and remember who fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from serving.gateway import metrics
from serving.gateway.attempt import Failed, Opened, Question, Trouble, attempt
from serving.gateway.breaker import Breakers, BreakerState
from serving.gateway.dialect import Wording
from serving.gateway.route import Hop
from serving.gateway.upstream import Upstream

__all__ = ["Answered", "Chain", "Exhausted"]

_log = structlog.get_logger("tocsin.gateway")


@dataclass(frozen=True, slots=True)
class Answered:
    """An upstream's answer; whoever has it tells the chain how it ended."""

    hop: Hop
    upstream: Upstream
    opened: Opened


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Why nobody answered: the last failure, or none when there was nobody to ask."""

    hop: Hop
    failed: Failed | None


class Chain:
    """All upstreams with their breakers.

    Args:
        upstreams: by name.
        breakers: of the same names.
        attempts: the most upstreams that one request may ask.
        now: monotonic seconds.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        breakers: Breakers,
        *,
        attempts: int,
        now: Callable[[], float],
    ) -> None:
        self.upstreams = upstreams
        self.breakers = breakers
        self._attempts = attempts
        self._now = now

    def load(self, name: str) -> int:
        """Return how many requests are under way at an upstream."""
        return self.upstreams[name].inflight

    async def ask(
        self,
        hops: Sequence[Hop],
        question: Question,
        prepare: Callable[[Hop, Upstream], tuple[Wording, Mapping[str, str]]],
        failures: list[str] | None = None,
    ) -> Answered | Exhausted:
        """Return the first answer that is fit for the client.

        Args:
            hops: in the order in which they are to be asked.
            question: what is asked.
            prepare: words the request and its headers for one of them.
            failures: gets `upstream:outcome` of each attempt that failed.
        """
        last = Exhausted(hops[0], None)
        lost: set[str] = set()  # not to be asked for another of its models
        for hop in self._admitted(hops, lost):
            upstream = self.upstreams[hop.upstream]
            upstream.inflight += 1
            answered = False
            started = self._now()
            try:
                result = await attempt(upstream, question, *prepare(hop, upstream))
                answered = isinstance(result, Opened)
            except BaseException:  # the client has left
                self._left(hop.upstream, self._now() - started, question)
                metrics.ATTEMPTS.labels(hop.upstream, "gone").inc()
                raise
            finally:
                if not answered:
                    upstream.inflight -= 1
            if isinstance(result, Opened):
                metrics.FIRST_BYTE.labels(hop.upstream).observe(self._now() - started)
                return Answered(hop, upstream, result)
            metrics.ATTEMPTS.labels(hop.upstream, result.trouble).inc()
            self._failed(hop.upstream, result.trouble)
            last = Exhausted(hop, result)
            if failures is not None:
                failures.append(f"{hop.upstream}:{result.trouble}")
            if result.trouble in (Trouble.UNREACHABLE, Trouble.TIMEOUT):
                lost.add(hop.upstream)
        return last

    def ended(self, answered: Answered, trouble: Trouble | None, *, gone: bool = False) -> None:
        """Note how an answer ended: well, in trouble, or without its client."""
        name = answered.hop.upstream
        answered.upstream.inflight -= 1
        if gone:
            self.breakers.released(name)
            outcome = "gone"
        elif trouble is not None:
            self._failed(name, trouble)
            outcome = str(trouble)
        else:
            state = self.breakers.state(name)
            self.breakers.succeeded(name, self._now())
            if state is BreakerState.PROBING:
                metrics.EJECTED.labels(name).set(0)
                _log.info("an upstream is back", upstream=name)
            outcome = "ok" if answered.opened.status < 400 else "passed"
        metrics.ATTEMPTS.labels(name, outcome).inc()

    def _admitted(self, hops: Sequence[Hop], lost: Collection[str]) -> Iterator[Hop]:
        """Yield the hops that may be asked; when all are ejected, the one that returns first."""
        asked = 0
        for hop in hops:
            if asked == self._attempts:
                return
            if hop.upstream not in lost and self.breakers.admit(hop.upstream, self._now()):
                asked += 1
                yield hop
        if not asked:  # better to try than to refuse (Envoy calls it panic mode)
            yield min(hops, key=lambda hop: self.breakers.returns_at(hop.upstream))

    def _left(self, name: str, waited_s: float, question: Question) -> None:
        """Note a client that left while an upstream was asked.

        That says nothing about the upstream, unless the client had waited for long: one that hangs
        would otherwise stay in rotation as long as its clients have less patience than we.
        """
        if waited_s >= question.patience_s / 2:
            self._failed(name, Trouble.TIMEOUT)
        else:
            self.breakers.released(name)

    def _failed(self, name: str, trouble: Trouble) -> None:
        if not trouble.counts:
            self.breakers.released(name)
            return
        capped = self.breakers.capped
        if self.breakers.failed(name, self._now()):
            ejected = self.breakers.state(name) is BreakerState.EJECTED
            metrics.EJECTED.labels(name).set(1 if ejected else 0)
            _log.warning(
                "an upstream is ejected" if ejected else "an upstream would be ejected",
                upstream=name,
                trouble=trouble,
            )
        if self.breakers.capped > capped:
            metrics.CAPPED.inc()
