"""The flags of a new installation."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.flag import FlagKey
from serving.errors import UnknownVariantError
from serving.flags.document import Flag, FlagDocument, VariantValue
from serving.flags.history import ChangeKind

__all__ = ["initial_document"]


def initial_document(
    *,
    providers: Sequence[str],
    versions: Sequence[str],
    at_us: int,
    by: str = "tocsin",
    reason: str = "first flags",
) -> FlagDocument:
    """Return the flags with the first provider and the first version in force.

    Args:
        providers: the fallback chain, the preferred one first.
        versions: the model versions that can be promoted.
        at_us: UTC microseconds.
        by: who creates them, for the history.
        reason: why, for the history.

    Raises:
        UnknownVariantError: there is no provider or no version.
    """
    if not providers or not versions:
        raise UnknownVariantError("flags need at least one provider and one model version")
    switch: dict[str, VariantValue] = {"on": True, "off": False}
    flags = (
        Flag(
            key=FlagKey.MODEL_PROVIDER,
            variants={name: name for name in providers},
            variant=providers[0],
            chain=tuple(providers),
        ),
        Flag(
            key=FlagKey.MODEL_VERSION,
            variants={name: name for name in versions},
            variant=versions[0],
        ),
        Flag(key=FlagKey.FEATURE_ENABLED, variants=switch, variant="on"),
        Flag(
            key=FlagKey.ROUTING_STRATEGY,
            variants={"stable": "stable", "canary": "canary"},
            variant="stable",
        ),
        Flag(key=FlagKey.GUARDRAILS_STRICT, variants=switch, variant="off"),
    )
    document = FlagDocument(flags={flag.key: flag for flag in flags})
    for flag in flags:
        document = document.switched(
            flag.key, flag.variant, kind=ChangeKind.CREATED, at_us=at_us, by=by, reason=reason
        )
    return document
