from __future__ import annotations

from pathlib import Path

import pytest

from schemas.clickhouse.migration import Applied, Migration, load_migrations, pending
from schemas.errors import MigrationError


def make(version: int, checksum: str = "c") -> Migration:
    return Migration(version, f"m{version}", checksum, ("SELECT 1",))


ONE, TWO, THREE = (make(version) for version in (1, 2, 3))
HAS_1 = {1: Applied("m1", "c")}
HAS_2 = {**HAS_1, 2: Applied("m2", "c")}


def test_what_a_store_lacks_comes_in_order() -> None:
    assert pending([ONE, TWO, THREE], {}) == (ONE, TWO, THREE)
    assert pending([ONE, TWO, THREE], HAS_1) == (TWO, THREE)
    assert pending([ONE, TWO], HAS_2) == ()


def test_a_newer_store_is_refused() -> None:
    with pytest.raises(MigrationError, match=r"newer .* it has 002_m2, .* upgrade Tocsin"):
        pending([ONE], HAS_2)


def test_a_changed_file_is_refused() -> None:
    with pytest.raises(MigrationError, match=r"001_m1\.sql has been changed"):
        pending([make(1, "other"), TWO], HAS_1)


def test_a_hole_is_refused() -> None:
    with pytest.raises(MigrationError, match="lacks 001_m1"):
        pending([ONE, TWO], {2: Applied("m2", "c")})


def test_files_are_cut_into_statements_and_comments_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text(
        "-- first;\nCREATE TABLE a\n(\n    x Int8 -- one; two\n);\n\n"
        "  -- then;\nSELECT ';x',\n 2;\n"
    )
    (tmp_path / "notes.txt").write_text("not SQL")
    (only,) = load_migrations(tmp_path)
    assert only.label == "001_a"
    assert only.statements == (
        "CREATE TABLE a\n(\n    x Int8 -- one; two\n)",
        "SELECT ';x',\n 2",
    )


def test_line_endings_do_not_change_a_checksum(tmp_path: Path) -> None:
    sums = set()
    for name, ending in [("unix", "\n"), ("windows", "\r\n")]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "001_a.sql").write_bytes(f"SELECT{ending}1;{ending}".encode())
        sums.add(load_migrations(folder)[0].checksum)
    assert len(sums) == 1


@pytest.mark.parametrize("names", [["002_a"], ["001_a", "003_b"], ["001_a", "001_b"]])
def test_numbers_must_count_up(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match="without gaps"):
        load_migrations(tmp_path)


def test_an_open_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("SELECT 1;\nSELECT 2\n")
    with pytest.raises(MigrationError, match="semicolon"):
        load_migrations(tmp_path)


def test_every_statement_that_ships_can_be_run_twice() -> None:
    migrations = load_migrations()
    assert migrations
    for migration in migrations:
        for statement in migration.statements:
            words = " ".join(statement.split()).upper()
            kinds = ("IF NOT EXISTS", "DROP VIEW IF EXISTS", "MODIFY SETTING", "MODIFY COLUMN")
            again = any(kind in words for kind in kinds)
            assert again, f"{migration.label}: {statement[:80]}"
