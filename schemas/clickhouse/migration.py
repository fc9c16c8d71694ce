"""The ordered SQL files and what is still to be done to a store (pure decisions)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from schemas.errors import MigrationError

__all__ = ["Applied", "Migration", "load_migrations", "pending"]

_FILE = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name without number and ending, its statements in order."""

    version: int
    name: str
    checksum: str
    statements: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the file's name without its ending."""
        return f"{self.version:03d}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """What a store says of one migration that it has."""

    name: str
    checksum: str


def load_migrations(directory: Traversable | None = None) -> tuple[Migration, ...]:
    """Return the migrations of a directory (those that ship with Tocsin) by version.

    Raises:
        MigrationError: two files of one number, a gap, or a file that does not end in a statement.
    """
    directory = directory or resources.files("schemas.clickhouse")
    found = []
    for entry in directory.iterdir():
        if match := _FILE.fullmatch(entry.name):
            text = entry.read_text(encoding="utf-8").replace("\r\n", "\n")
            found.append(
                Migration(
                    version=int(match[1]),
                    name=match[2],
                    checksum=hashlib.sha256(text.encode()).hexdigest(),
                    statements=_statements(text, entry.name),
                )
            )
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations must count up from 001 without gaps, found {versions}")
    return tuple(found)


def pending(
    migrations: Sequence[Migration], applied: Mapping[int, Applied]
) -> tuple[Migration, ...]:
    """Return what a store still lacks, in order.

    Raises:
        MigrationError: the store is newer than this code, has a migration whose file has been
            changed since, or lacks one before another that it has.
    """
    newest = migrations[-1].version if migrations else 0
    if unknown := sorted(version for version in applied if version > newest):
        names = ", ".join(f"{v:03d}_{applied[v].name}" for v in unknown)
        raise MigrationError(
            f"the store is newer than this version of Tocsin: it has {names}, and {newest:03d} is "
            "the last one known here; upgrade Tocsin"
        )
    for migration in migrations:
        there = applied.get(migration.version)
        if there is not None and there.checksum != migration.checksum:
            raise MigrationError(
                f"{migration.label}.sql has been changed after the store got it (applied as "
                f"{there.checksum[:12]}, now {migration.checksum[:12]}); restore the file and put "
                "the change into a new one"
            )
    missing = tuple(m for m in migrations if m.version not in applied)
    if missing and applied and missing[0].version < max(applied):
        raise MigrationError(
            f"the store has {max(applied):03d} but lacks {missing[0].label}; "
            "it was not made by this program, or its table schema_migrations was changed"
        )
    return missing


def _statements(text: str, name: str) -> tuple[str, ...]:
    """Cut at semicolons that end a line; lines that begin with two hyphens are comments."""
    return tuple(_cut(text.splitlines(), name))


def _cut(lines: Iterable[str], name: str) -> Iterable[str]:
    statement: list[str] = []
    for line in lines:
        if line.lstrip().startswith("--") or not line.strip():
            continue
        statement.append(line.rstrip())
        if statement[-1].endswith(";"):
            yield "\n".join(statement)[:-1]
            statement = []
    if statement:
        raise MigrationError(f"{name}: the last statement does not end with a semicolon")
