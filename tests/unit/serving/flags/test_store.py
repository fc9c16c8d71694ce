"""The flag file under several writers, crashes and clocks that go back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from schemas.flag import FlagKey
from serving.errors import FlagConflictError, FlagFileError, FlagLockError, UnknownVariantError
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.initial import initial_document
from serving.flags.lock import writer_lock
from serving.flags.store import FlagStore
from tests.support.actions import NOW_US, promoted_flags
from tests.support.waiting import until_true

VERSION = FlagKey.MODEL_VERSION


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return promoted_flags(tmp_path / "flags.json")


def test_create_does_not_overwrite(store: FlagStore) -> None:
    before = store.path.read_bytes()
    assert not store.create(initial_document(providers=["x"], versions=["y"], at_us=1))
    assert store.path.read_bytes() == before


def test_compare_and_set(store: FlagStore) -> None:
    seen = store.read().digest
    store.set_variant(VERSION, "v3", by="bob", reason="first", at_us=NOW_US)
    before = store.path.read_bytes()
    with pytest.raises(FlagConflictError, match="changed since"):
        store.update(lambda document: document, expected=seen)
    assert store.path.read_bytes() == before


def test_what_changes_nothing_writes_nothing(store: FlagStore) -> None:
    before = store.path.stat()
    store.set_variant(VERSION, "v2", by="bob", reason="as it is", at_us=NOW_US)
    store.adopt(NOW_US)
    store.mark(FlagKey.MODEL_PROVIDER, "backup", known_good=True)  # never in force
    assert (store.path.stat().st_mtime_ns, store.path.stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    )


def test_a_change_that_fails_leaves_no_trace(store: FlagStore) -> None:
    before = store.path.read_bytes()
    with pytest.raises(UnknownVariantError):
        store.set_variant(VERSION, "v9", by="bob", reason="typo", at_us=NOW_US)
    assert store.path.read_bytes() == before
    assert sorted(p.name for p in store.path.parent.iterdir()) == [
        "flags.json",
        "flags.json.lock",
    ]


def test_a_new_variant_is_promoted(store: FlagStore) -> None:
    document = store.set_variant(
        VERSION, "v4", by="bob", reason="new", at_us=NOW_US, value="weights-4"
    )
    assert document.flag(VERSION).value == "weights-4"
    assert store.read() == document


def test_the_time_of_the_file_moves_forward_even_when_the_clock_goes_back(
    store: FlagStore,
) -> None:
    ahead = store.path.stat().st_mtime_ns + 3_600_000_000_000
    os.utime(store.path, ns=(ahead, ahead))
    for variant in ("v3", "v2", "v3"):
        before = store.path.stat().st_mtime
        store.set_variant(VERSION, variant, by="bob", reason="again", at_us=NOW_US)
        assert store.path.stat().st_mtime > before


def test_mode_and_link_are_kept(store: FlagStore, tmp_path: Path) -> None:
    store.path.chmod(0o640)
    link = tmp_path / "elsewhere" / "flags.json"
    link.parent.mkdir()
    link.symlink_to(store.path)
    FlagStore(link).set_variant(VERSION, "v3", by="bob", reason="by link", at_us=NOW_US)
    with writer_lock(store.path), pytest.raises(FlagLockError):
        FlagStore(link, lock_timeout_s=0.03).adopt(NOW_US)
    assert link.is_symlink()
    assert store.path.stat().st_mode & 0o777 == 0o640
    assert store.read().flag(VERSION).variant == "v3"


def test_edited_by_hand(store: FlagStore) -> None:
    text = store.path.read_text()
    store.path.write_text(text.replace('"defaultVariant": "v2"', '"defaultVariant": "v3"'))
    document = store.adopt(NOW_US)
    last = document.flag(VERSION).history[-1]
    assert (last.variant, last.previous, last.kind, last.by) == (
        "v3",
        "v2",
        ChangeKind.PROMOTION,
        "file",
    )
    assert document.flag(VERSION).history[-2].known_good


def test_written_by_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(
        '{"flags": {"ai.model.version": '
        '{"state": "ENABLED", "variants": {"a": "a"}, "defaultVariant": "a"}}}'
    )
    document = FlagStore(path).adopt(NOW_US)
    assert document.revision == 1
    assert document.flag(VERSION).history[0].kind is ChangeKind.CREATED


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"{", "not JSON"), (b" " * 5_000_000, "larger")]
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "flags.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FlagFileError, match=words):
        FlagStore(path).read()


def test_a_folder_is_no_flag_file(tmp_path: Path) -> None:
    (tmp_path / "flags.json").mkdir()
    with pytest.raises(FlagFileError, match="cannot be read"):
        FlagStore(tmp_path / "flags.json").read()
    with pytest.raises(FlagFileError, match="end in"):
        FlagStore(tmp_path / "flags.yaml")


def test_one_writer_at_a_time(store: FlagStore) -> None:
    hurried = FlagStore(store.path, lock_timeout_s=0.03)
    with writer_lock(store.path), pytest.raises(FlagLockError, match="another writer"):
        hurried.set_variant(VERSION, "v3", by="bob", reason="me too", at_us=NOW_US)
    hurried.set_variant(VERSION, "v3", by="bob", reason="now", at_us=NOW_US)


async def test_writers_never_lose_each_others_changes(store: FlagStore) -> None:
    def count(document: FlagDocument) -> FlagDocument:
        flag = document.flag(FlagKey.FEATURE_ENABLED)
        return document.switched(
            flag.key,
            "off" if flag.variant == "on" else "on",
            kind=ChangeKind.PROMOTION,
            at_us=NOW_US,
            by="writer",
            reason="count",
        )

    before = store.read().revision
    writers = [FlagStore(store.path) for _ in range(4)]
    await asyncio.gather(*(asyncio.to_thread(w.update, count) for w in writers for _ in range(10)))
    assert store.read().revision == before + 40


def test_killed_while_writing_it_leaves_a_whole_file(store: FlagStore) -> None:
    """A writer in a loop is killed at some moment; what stands is a document, old or new."""
    script = """
        import sys
        from pathlib import Path
        from schemas.flag import FlagKey
        from serving.flags.store import FlagStore
        store, key = FlagStore(Path(sys.argv[1])), FlagKey.MODEL_VERSION
        for turn in range(10**6):
            store.set_variant(key, f"v{1 + turn % 3}", by="w", reason="x", at_us=1)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(store.path)])
    begun = store.read().revision
    until_true(lambda: store.read().revision > begun + 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    revision = store.read().revision
    assert (
        store.set_variant(
            FlagKey.FEATURE_ENABLED, "off", by="bob", reason="after", at_us=NOW_US
        ).revision
        == revision + 1
    )
