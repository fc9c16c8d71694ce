from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.embedded.data_dir import make_data_dir
from tocsin.embedded.errors import DataDirError


def test_a_new_directory_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    make_data_dir(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir(mode=0o750)
    make_data_dir(path)
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("")
    for wrong in (path, path / "b"):
        with pytest.raises(DataDirError, match=f"{wrong} cannot be the data directory"):
            make_data_dir(wrong)
