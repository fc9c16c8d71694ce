"""Flags as serving sees them, through OpenFeature."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import pytest

from schemas.flag import FlagKey
from serving.flags.reader import FlagReader, evaluate
from tests.support.actions import NOW_US, promoted_flags
from tests.support.waiting import until_true

VERSION = FlagKey.MODEL_VERSION


def _reads(reader: FlagReader, value: str) -> bool:
    return reader.text(VERSION, "default") == value


def test_a_change_is_seen(tmp_path: Path) -> None:
    store = promoted_flags(tmp_path / "flags.json")
    with FlagReader(store.path, poll_s=0.02) as reader:
        assert reader.text(VERSION, "default") == "v2"
        assert reader.switch(FlagKey.FEATURE_ENABLED, False) is True
        for variant in ("v1", "v3", "v2"):
            store.set_variant(VERSION, variant, by="bob", reason="look", at_us=NOW_US)
            until_true(partial(_reads, reader, variant))


def test_a_torn_file_keeps_the_last_good_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = promoted_flags(tmp_path / "flags.json")
    whole = store.path.read_bytes()
    with FlagReader(store.path, poll_s=0.02) as reader, caplog.at_level(logging.ERROR):
        store.path.write_bytes(whole[: len(whole) // 2])
        until_true(lambda: caplog.records)
        assert reader.text(VERSION, "default") == "v2"
        assert not caplog.records[0].exc_info
        store.path.write_bytes(whole.replace(b'"defaultVariant": "v2"', b'"defaultVariant": "v1"'))
        os.utime(store.path)
        until_true(lambda: reader.text(VERSION, "default") == "v1")


def test_a_file_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    with FlagReader(path, poll_s=0.02) as reader:
        assert reader.text(VERSION, "default") == "default"
        assert reader.switch(FlagKey.FEATURE_ENABLED, True) is True
        promoted_flags(path)
        until_true(lambda: reader.text(VERSION, "default") == "v2")
        path.unlink()
        assert reader.text(VERSION, "default") == "v2"


def test_two_readers_do_not_mix(tmp_path: Path) -> None:
    one, two = (promoted_flags(tmp_path / name) for name in ("one.json", "two.json"))
    two.set_variant(VERSION, "v3", by="bob", reason="apart", at_us=NOW_US)
    with FlagReader(one.path) as first, FlagReader(two.path) as second:
        assert (first.text(VERSION, ""), second.text(VERSION, "")) == ("v2", "v3")
    assert first.text(VERSION, "closed") == "closed"


def test_evaluate(tmp_path: Path) -> None:
    store = promoted_flags(tmp_path / "flags.json")
    assert evaluate(store.path.read_bytes(), VERSION) == "v2"
    assert evaluate(b"{", VERSION) is None
    assert evaluate(b'{"flags": {}}', VERSION) is None
