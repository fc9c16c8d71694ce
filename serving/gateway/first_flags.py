"""The flags of a gateway's first start, from what its file offers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from schemas.flag import FlagKey
from serving.flags.document import Flag, FlagDocument, VariantValue
from serving.flags.history import ChangeKind
from serving.flags.initial import initial_document
from serving.gateway.model import GatewayFile

__all__ = ["PERCENTS", "first_flags", "with_gateway_flags"]

PERCENTS: Final = ("0", "1", "5", "25", "50", "100")
"""The shares that a canary can be given; each variant is named by its value."""


def first_flags(file: GatewayFile, *, at_us: int, by: str = "tocsin") -> FlagDocument:
    """Return flags with the first target's provider and version in force, and no canary.

    Args:
        file: the gateway's file.
        at_us: UTC microseconds.
        by: who creates them, for the history.
    """
    targets = [target for model in file.models.values() for target in model.targets]
    providers = dict.fromkeys(file.upstreams[target.upstream].provider for target in targets)
    versions = dict.fromkeys(version for target in targets for version in target.versions)
    document = initial_document(
        providers=list(providers), versions=list(versions), at_us=at_us, by=by
    )
    return with_gateway_flags(document, limits=list(file.limits), at_us=at_us, by=by)


def with_gateway_flags(
    document: FlagDocument, *, limits: list[str], at_us: int, by: str = "tocsin"
) -> FlagDocument:
    """Return the document with the flags that only a gateway obeys, where they are missing."""
    versions = dict(document.flag(FlagKey.MODEL_VERSION).variants)
    switch: dict[str, VariantValue] = {"on": True, "off": False}
    percents: dict[str, VariantValue] = {percent: percent for percent in PERCENTS}
    flags = [
        Flag(key=FlagKey.CANARY_VERSION, variants={"none": ""} | versions, variant="none"),
        Flag(key=FlagKey.CANARY_PERCENT, variants=percents, variant="0"),
        Flag(key=FlagKey.SHADOW_PERCENT, variants=percents, variant="0"),
        Flag(key=FlagKey.FALLBACK_ENABLED, variants=switch, variant="on"),
    ]
    if limits:
        flags.append(
            Flag(
                key=FlagKey.RATE_LIMIT_PROFILE,
                variants={name: name for name in limits},
                variant=limits[0],
                chain=tuple(limits),
            )
        )
    strategy = document.flags.get(FlagKey.ROUTING_STRATEGY)
    if strategy is not None and "complexity" not in strategy.variants:
        more = {**strategy.variants, "complexity": "complexity"}
        document = document.with_flag(replace(strategy, variants=more))
    for flag in flags:
        if flag.key not in document.flags:
            document = document.with_flag(flag).switched(
                flag.key,
                flag.variant,
                kind=ChangeKind.CREATED,
                at_us=at_us,
                by=by,
                reason="first flags of the gateway",
            )
    return document
