"""Keep a rollout in a file, and have the flags say what it says."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from schemas.flag import FlagKey
from serving.errors import FlagLockError, RolloutDisturbedError, RolloutError
from serving.flags.atomic import replace_file
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.lock import writer_lock
from serving.flags.store import FlagStore, adopted
from serving.rollout.machine import Outcome, RolloutPolicy, RolloutState, begun, ended

__all__ = ["KEPT", "Steering", "flags_of"]

KEPT: Final = 20
"""Rollouts before the present one that are kept."""

_SHADOW: Final = "5"
_SIZE_LIMIT: Final = 4 * 1024 * 1024


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
        self.store = store
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
            raise RolloutError(
                "another process drives the rollout already; `tocsin rollout status` shows it"
            ) from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def driven(self) -> bool | None:
        """Tell whether a process of this machine drives; None when that cannot be known."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            with lock.open("rb") as file:
                # Shared, and let go at once: it turns nobody away who wants to drive.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False

    def read(self) -> RolloutState | None:
        """Return the rollout that was last begun, or None.

        Raises:
            RolloutError: the file cannot be read.
        """
        return _read(self.path)

    def past(self) -> list[RolloutState]:
        """Return the rollouts before the present one, the newest first.

        One whose file cannot be read is left out.
        """
        found: list[RolloutState] = []
        try:
            present = self.read()
        except RolloutError:
            present = None
        for path in sorted(self._archive(), reverse=True):
            try:
                state = _read(path)
            except RolloutError:
                continue
            # A crash between keeping the old one and beginning the new one leaves it twice.
            if state is not None and (
                present is None or state.started_at_us != present.started_at_us
            ):
                found.append(state)
        return found

    def begin(
        self,
        version: str,
        now_us: int,
        policy: RolloutPolicy | None = None,
        every_s: float | None = None,
    ) -> RolloutState:
        """Begin a rollout, or take up the one of the same version that is under way.

        Raises:
            RolloutError: it cannot begin; says why.
        """
        present = self.read()
        if present is not None and present.outcome is Outcome.RUNNING:
            if present.version == version:
                changes = {"policy": policy or present.policy, "every_s": every_s}
                return present.model_copy(update=changes)
            raise RolloutError(
                f"{present.version} is being rolled out ({present.share}); "
                "`tocsin rollout abort` takes it back"
            )
        document = self.store.read()
        needed = {FlagKey.MODEL_VERSION, *flags_of(begun(version, version, now_us))}
        if missing := sorted(needed - set(document.flags)):
            raise RolloutError(
                f"{self.store.path}: no flag {', '.join(missing)}: `tocsin gateway` makes a flag "
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
        if present is not None:
            self._keep(present)
        state = begun(version, flag.variant, now_us, policy, every_s)
        self.apply(state, by="tocsin rollout", now_us=now_us)
        return state

    def abort(self, reason: str, *, by: str, now_us: int, version: str = "") -> RolloutState:
        """Take the canary back to 0 % and end the rollout; whoever drives it sees it and stops.

        Args:
            reason: why, for the history.
            by: who wants it.
            now_us: UTC microseconds.
            version: what is meant; empty for whatever is being rolled out.

        Raises:
            RolloutError: nothing, or something else, is being rolled out.
            FlagError, OSError: the flags could not be written; the rollout stays as it was.
        """
        state = self.read()
        if state is None or state.outcome is not Outcome.RUNNING:
            raise RolloutError("no rollout is under way")
        if version and version != state.version:
            raise RolloutError(f"{state.version} is being rolled out, not {version}")
        state = ended(state, Outcome.ABORTED, reason, now_us)
        self.apply(state, by=by, now_us=now_us)
        return state

    def apply(
        self, state: RolloutState, *, by: str, now_us: int, before: RolloutState | None = None
    ) -> None:
        """Make the flags say what a rollout says, in one write, and keep it.

        Args:
            state: what they shall say.
            by: who sets them.
            now_us: UTC microseconds.
            before: what they must say until then, if anything.

        Raises:
            RolloutDisturbedError: they do not say that; somebody else has changed them.
            FlagError, OSError: the flags could not be written; the rollout stays as it was.
        """
        kind = ChangeKind.PROMOTION
        if state.outcome is Outcome.ABORTED:
            kind = ChangeKind.ROLLBACK
        reason = f"rollout of {state.version}: {state.reason or state.share}"

        def change(present: FlagDocument) -> FlagDocument:
            if before is not None and (who := _disturbed(present, before)) is not None:
                raise RolloutDisturbedError(who)
            document = adopted(present, now_us)
            for key, variant in flags_of(state).items():
                if document.flag(key).variant != variant:
                    document = document.switched(
                        key, variant, kind=kind, at_us=now_us, by=by, reason=reason
                    )
            return document

        # Under the flags' lock: a driver never writes over what somebody has ended meanwhile.
        self.store.update(change, then=lambda: self.write(state))

    def write(self, state: RolloutState) -> None:
        """Keep a rollout without touching the flags.

        Raises:
            OSError: it could not be written.
        """
        replace_file(self.path, state.model_dump_json().encode())

    def disturbed(self, state: RolloutState) -> str | None:
        """Return who has changed the flags of a running rollout since, or None.

        Raises:
            FlagError: the flag file cannot be read, or lacks a flag.
        """
        return _disturbed(self.store.read(), state)

    def _archive(self) -> list[Path]:
        return list(self.path.parent.glob(f"{self.store.path.stem}.rollout.[0-9]*.json"))

    def _keep(self, state: RolloutState) -> None:
        name = f"{self.store.path.stem}.rollout.{state.started_at_us:016d}.json"
        replace_file(self.path.with_name(name), state.model_dump_json().encode())
        for old in sorted(self._archive())[:-KEPT]:
            old.unlink(missing_ok=True)


def _read(path: Path) -> RolloutState | None:
    try:
        with path.open("rb") as file:
            return RolloutState.model_validate_json(file.read(_SIZE_LIMIT))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RolloutError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RolloutError(
            f"{path}: no rollout: {f'{place}: ' if place else ''}{first['msg']}; move it away, and "
            "look at ai.canary.percent in the flag file"
        ) from None


def _disturbed(document: FlagDocument, state: RolloutState) -> str | None:
    wanted = {FlagKey.MODEL_VERSION: state.previous, **flags_of(state)}
    for key, variant in wanted.items():
        flag = document.flag(key)
        if flag.variant != variant:
            last = flag.history[-1] if flag.history else None
            # Whoever edits the file by hand leaves no history.
            named = last is not None and last.variant == flag.variant
            who = f" by {last.by}: {last.reason}" if last is not None and named else ""
            return f"{key} was set to {flag.variant}{who}"
    return None
