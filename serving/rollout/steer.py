"""Keep a rollout in a file, and have the flags say what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ValidationError

from schemas.flag import FlagKey
from serving.errors import FlagLockError, RolloutError
from serving.flags.atomic import replace_file
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.lock import writer_lock
from serving.flags.store import FlagStore, adopted
from serving.rollout.machine import Outcome, RolloutState

__all__ = ["Steering", "flags_of"]

_SHADOW: Final = "5"
_SIZE_LIMIT: Final = 1_048_576


def flags_of(state: RolloutState) -> dict[FlagKey, str]:
    """Return the variants that the flags have at a step of a rollout."""
    if state.outcome is Outcome.RUNNING:
        shadow = state.share == "shadow"
        return {
            FlagKey.CANARY_VERSION: state.version,
            FlagKey.CANARY_PERCENT: "0" if shadow else state.share,
            FlagKey.SHADOW_PERCENT: _SHADOW if shadow else "0",
        }
    over = {
        FlagKey.CANARY_PERCENT: "0",
        FlagKey.SHADOW_PERCENT: "0",
        FlagKey.CANARY_VERSION: "none",
    }
    if state.outcome is Outcome.DONE:
        return {FlagKey.MODEL_VERSION: state.version, **over}
    return over


class Steering:
    """One rollout at a time, beside the flag file.

    Args:
        store: the flag file.
    """

    def __init__(self, store: FlagStore) -> None:
        self._store = store
        self.path = store.path.with_name(f"{store.path.stem}.rollout.json")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who drives for the block.

        Raises:
            RolloutError: another process drives.
        """
        lock = writer_lock(self.path, 0.1)
        try:
            lock.__enter__()
        except FlagLockError:
            raise RolloutError("another process drives the rollout already") from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def read(self) -> RolloutState | None:
        """Return the rollout that was last begun, or None.

        Raises:
            RolloutError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return RolloutState.model_validate_json(file.read(_SIZE_LIMIT))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            kind = error.strerror if isinstance(error, OSError) else "no rollout"
            raise RolloutError(f"{self.path}: {kind}") from None

    def begin(self, version: str, now_us: int) -> RolloutState:
        """Begin a rollout, or take up the one of the same version that is under way.

        Raises:
            RolloutError: it cannot begin; says why.
        """
        present = self.read()
        if present is not None and present.outcome is Outcome.RUNNING:
            if present.version == version:
                return present
            raise RolloutError(
                f"{present.version} is being rolled out ({present.share}); "
                "`tocsin rollout abort` takes it back"
            )
        document = self._store.read()
        needed = {FlagKey.MODEL_VERSION, *flags_of(_first(version, version, now_us))}
        if missing := sorted(needed - set(document.flags)):
            raise RolloutError(
                f"{self._store.path}: no flag {', '.join(missing)}: `tocsin gateway` makes a flag "
                "file that has them"
            )
        flag = document.flag(FlagKey.MODEL_VERSION)
        if (
            version not in flag.variants
            or version not in document.flag(FlagKey.CANARY_VERSION).variants
        ):
            raise RolloutError(f"no version {version}; there are {', '.join(flag.variants)}")
        if version == flag.variant:
            raise RolloutError(f"{version} is in force already")
        state = _first(version, flag.variant, now_us)
        self.apply(state, by="tocsin rollout", now_us=now_us)
        return state

    def apply(self, state: RolloutState, *, by: str, now_us: int) -> None:
        """Make the flags say what a rollout says, in one write, and keep it.

        Raises:
            FlagError, OSError: the flags could not be written; the rollout stays as it was.
        """
        kind = ChangeKind.PROMOTION
        if state.outcome is Outcome.ABORTED:
            kind = ChangeKind.ROLLBACK
        reason = f"rollout of {state.version}: {state.reason or state.share}"

        def change(present: FlagDocument) -> FlagDocument:
            document = adopted(present, now_us)
            for key, variant in flags_of(state).items():
                if document.flag(key).variant != variant:
                    document = document.switched(
                        key, variant, kind=kind, at_us=now_us, by=by, reason=reason
                    )
            return document

        self._store.update(change)
        replace_file(self.path, state.model_dump_json(indent=1).encode())

    def disturbed(self, state: RolloutState) -> str | None:
        """Return who has changed the flags of a running rollout since, or None."""
        document = self._store.read()
        wanted = {FlagKey.MODEL_VERSION: state.previous, **flags_of(state)}
        for key, variant in wanted.items():
            flag = document.flag(key)
            if flag.variant != variant:
                last = flag.history[-1] if flag.history else None
                who = f" by {last.by}: {last.reason}" if last else ""
                return f"{key} was set to {flag.variant}{who}"
        return None


def _first(version: str, previous: str, now_us: int) -> RolloutState:
    return RolloutState(
        version=version,
        previous=previous,
        started_at_us=now_us,
        step_at_us=now_us,
        looked_at_us=now_us,
    )
