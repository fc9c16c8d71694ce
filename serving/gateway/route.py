"""Decide where a request goes, and where it goes when that fails. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schemas.event import Route
from serving.gateway.in_force import InForce
from serving.gateway.model import GatewayFile, Target
from serving.gateway.rules import Facts, choose
from serving.gateway.share import in_share

__all__ = ["Decision", "Denied", "Hop", "decide"]


@dataclass(frozen=True, slots=True)
class Hop:
    """One upstream that may answer: the model's name there, and why it was chosen."""

    upstream: str
    model: str
    version: str
    route: Route


@dataclass(frozen=True, slots=True)
class Decision:
    """The upstreams to try, in order, and the one that gets a copy."""

    hops: tuple[Hop, ...]
    shadow: Hop | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """Why no upstream is asked, as OpenAI's API would say it."""

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None


def decide(
    file: GatewayFile,
    flags: InForce,
    model: str,
    facts: Facts,
    *,
    user: str | None,
    request_id: str,
    load: Callable[[str], int],
    turn: int = 0,
) -> Decision | Denied:
    """Return where a request goes.

    The version comes from the flags: the canary's for the users drawn for it, else the one in
    force. First come targets of the provider in force that have the version, the least loaded
    first; then other providers with it in the order of the chain; for a canary then the same with
    the version in force; then targets that only have other versions. With the chain switched off
    only the first group remains. A request drawn for the canary stays one wherever it is answered:
    who compares the two has to see that the canary needed help.

    Args:
        file: upstreams and models.
        flags: what is in force.
        model: what the client asked for.
        facts: of the request, for tables of rules.
        user: draws the canary; without one the request id does, which does not stick.
        request_id: draws the shadow copies.
        load: requests under way by upstream.
        turn: counts requests, so that equal upstreams take turns.
    """
    if not flags.enabled:
        return Denied(
            503,
            "feature_disabled",
            "feature_disabled",
            "This feature is switched off at the moment.",
        )
    entry = file.models.get(model)
    if entry is None:
        return Denied(
            404,
            "NotFoundError",
            "model_not_found",
            f"The model `{model}` does not exist.",
            "model",
        )
    if entry.rules:
        entry = file.models[choose(entry.rules, facts, enabled=flags.rules)]
    targets = entry.targets
    stable = flags.version or next(iter(targets[0].versions))
    canary = flags.canary_version
    has_canary = canary not in ("", stable) and any(canary in t.versions for t in targets)
    drawn = has_canary and in_share(user or request_id, canary, flags.canary_percent)
    provider = flags.provider
    if not any(file.upstreams[t.upstream].provider == provider for t in targets):
        provider = file.upstreams[targets[0].upstream].provider

    def ordered(version: str) -> Iterator[Target]:
        having = [t for t in targets if version in t.versions]
        own = [t for t in having if file.upstreams[t.upstream].provider == provider]
        start = turn % len(own) if own else 0
        yield from sorted(own[start:] + own[:start], key=lambda t: load(t.upstream))
        yield from (t for t in having if t not in own)

    wanted, why = (canary, Route.CANARY) if drawn else (stable, Route.STABLE)
    hops: dict[tuple[str, str], Hop] = {}
    first: list[Hop] = []

    def add(target: Target, version: str) -> None:
        right = version == wanted and file.upstreams[target.upstream].provider == provider
        route = why if right or drawn else Route.FALLBACK
        hop = Hop(target.upstream, target.versions[version], version, route)
        if (hop.upstream, hop.model) not in hops:
            hops[hop.upstream, hop.model] = hop
            if right:
                first.append(hop)

    for version in dict.fromkeys((wanted, stable)):
        for target in ordered(version):
            add(target, version)
    for target in targets:
        if stable not in target.versions and wanted not in target.versions:
            add(target, next(iter(target.versions)))
    chain = tuple(hops.values())
    if not flags.fallback:
        chain = tuple(first) or chain[:1]
    shadow: Hop | None = None
    if has_canary and not drawn and in_share(request_id, "shadow", flags.shadow_percent):
        target = next(ordered(canary))
        shadow = Hop(target.upstream, target.versions[canary], canary, Route.CANARY)
    return Decision(chain, shadow)
