"""Read and change the flag file: the one place that writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from schemas.flag import FlagKey
from serving.errors import FlagConflictError, FlagFileError
from serving.flags.atomic import replace_file
from serving.flags.document import FlagDocument, VariantValue, parse_document
from serving.flags.history import ChangeKind, last_good, mark
from serving.flags.lock import writer_lock

__all__ = ["FlagStore", "adopted"]

_SIZE_LIMIT = 4 * 1024 * 1024


class FlagStore:
    """The flag file at a path.

    Args:
        path: a `.json` file in flagd's format; its folder must be writable to change flags.
        lock_timeout_s: how long a writer waits for another one.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 5.0) -> None:
        if path.suffix != ".json":
            raise FlagFileError(f"{path}: the flag file has to end in .json")
        self.path = path
        self._lock_timeout_s = lock_timeout_s

    def read(self) -> FlagDocument:
        """Return the document that stands in the file now.

        Raises:
            FlagFileError: it is missing, torn or foreign; the text says which.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(_SIZE_LIMIT + 1)
        except FileNotFoundError:
            raise FlagFileError(f"{self.path}: no such file; create the flags first") from None
        except OSError as error:
            raise FlagFileError(f"{self.path}: cannot be read: {error.strerror}") from error
        if len(data) > _SIZE_LIMIT:
            raise FlagFileError(f"{self.path}: larger than {_SIZE_LIMIT} bytes")
        return parse_document(data, str(self.path))

    def create(self, document: FlagDocument) -> bool:
        """Write the first document; return False and change nothing when there is a file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writer_lock(self.path, self._lock_timeout_s):
            if self.path.exists():
                return False
            self._write(document)
            return True

    def update(
        self,
        change: Callable[[FlagDocument], FlagDocument],
        *,
        expected: str | None = None,
        then: Callable[[], None] | None = None,
    ) -> FlagDocument:
        """Apply a pure change under the writers' lock; return what stands afterwards.

        Args:
            change: gets the present document; when it returns the same one, nothing is written.
            expected: the digest that the present document must have (compare-and-set).
            then: called last, still under the lock, for what belongs to the change.

        Raises:
            FlagConflictError: the file has another digest; nothing was written.
            FlagFileError: the file cannot be read, or the change would make it invalid.
            FlagLockError: another writer held it for too long.
        """
        with writer_lock(self.path, self._lock_timeout_s):
            present = self.read()
            if expected is not None and present.digest != expected:
                raise FlagConflictError(
                    f"{self.path}: changed since it was looked at (now revision {present.revision})"
                )
            changed = change(present)
            document = present if changed is present else self._write(changed)
            if then is not None:
                then()
            return document

    def set_variant(
        self,
        key: FlagKey,
        variant: str,
        *,
        by: str,
        reason: str,
        at_us: int,
        value: VariantValue | None = None,
    ) -> FlagDocument:
        """Set a flag by hand; `value` adds or redefines the variant first.

        To return to the last good variant is a rollback and marks what was in force as bad;
        anything else is a promotion and vouches for it. To set what is in force changes nothing.
        """

        def change(present: FlagDocument) -> FlagDocument:
            document = adopted(present, at_us)
            flag = document.flag(key)
            if value is not None and flag.variants.get(variant) != value:
                flag = replace(flag, variants={**flag.variants, variant: value})
                document = document.with_flag(flag)
            if flag.variant == variant:
                return document
            back = last_good(flag.history) == variant
            kind = ChangeKind.ROLLBACK if back else ChangeKind.PROMOTION
            return document.switched(key, variant, kind=kind, at_us=at_us, by=by, reason=reason)

        return self.update(change)

    def mark(self, key: FlagKey, variant: str, *, known_good: bool) -> FlagDocument:
        """Mark a variant as good or bad by a human's judgement."""

        def change(document: FlagDocument) -> FlagDocument:
            flag = document.flag(key)
            history = mark(flag.history, variant, known_good)
            if history == flag.history:
                return document
            return document.with_flag(replace(flag, history=history))

        return self.update(change)

    def adopt(self, at_us: int) -> FlagDocument:
        """Enter changes that somebody made with an editor into the history."""
        return self.update(lambda document: adopted(document, at_us))

    def _write(self, document: FlagDocument) -> FlagDocument:
        data = document.to_bytes()
        valid = parse_document(data, f"{self.path} (to be written)")
        replace_file(self.path, data)
        return valid


def adopted(document: FlagDocument, at_us: int) -> FlagDocument:
    """Return the document with a history that ends in what is in force for each flag.

    Whoever edits the file by hand leaves no history; the change is entered as a promotion. Without
    any history there is nothing to compare with, and what is in force is entered as the beginning.
    """
    for key, flag in document.flags.items():
        known = flag.history[-1].variant if flag.history else None
        if known == flag.variant:
            continue
        if known is None or known not in flag.variants:
            kind, before = ChangeKind.CREATED, flag.variant
        else:
            kind = (
                ChangeKind.ROLLBACK
                if last_good(flag.history) == flag.variant
                else ChangeKind.PROMOTION
            )
            before = known
        document = replace(
            document, flags={**document.flags, key: replace(flag, variant=before)}
        ).switched(
            key, flag.variant, kind=kind, at_us=at_us, by="file", reason="found in the flag file"
        )
    return document
