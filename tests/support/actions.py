"""Requests for actions, and flag files to act on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.action import ActionKind, ActionRequested
from schemas.flag import FlagKey
from serving.flags.initial import initial_document
from serving.flags.store import FlagStore

__all__ = ["HOUR_US", "NOW_US", "asked", "promoted_flags"]

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def asked(kind: ActionKind = ActionKind.ROLLBACK, **changes: Any) -> ActionRequested:
    """Return a request about provider vllm and version v2."""
    fields: dict[str, Any] = {
        "schema_version": 1,
        "action_id": "incident-1/rollback",
        "kind": kind,
        "fingerprint": "error-rate{model_version=v2}",
        "incident_id": "incident-1",
        "rule": "error-rate",
        "step": "rollback",
        "labels": {"provider": "vllm", "model": "sim", "model_version": "v2"},
        "reason": "8 % of requests fail",
        "verify_within_s": 600,
        "requested_at_us": NOW_US,
    }
    return ActionRequested(**(fields | changes))


def promoted_flags(path: Path, *, at_us: int = NOW_US - HOUR_US) -> FlagStore:
    """Return a flag file with v1, then v2 promoted at `at_us`; providers vllm, then backup."""
    store = FlagStore(path)
    store.create(
        initial_document(
            providers=["vllm", "backup"], versions=["v1", "v2", "v3"], at_us=at_us - HOUR_US
        )
    )
    store.set_variant(FlagKey.MODEL_VERSION, "v2", by="alice", reason="new weights", at_us=at_us)
    return store
