"""What is refused before any lever is pulled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.action import ActionKind, ActionRequested, ActionStatus
from schemas.flag import FlagKey
from schemas.settings import Settings
from serving.actuators import levers
from serving.actuators.freeze import FROZEN_FILE, freeze, thaw
from serving.flags.store import FlagStore
from serving.obey import Obedience
from tests.support.actions import NOW_US, asked, promoted_flags

Answer = Callable[..., object]


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return promoted_flags(tmp_path / "flags.json")


def obedience(store: FlagStore, *, dry_run: bool = False) -> Obedience:
    return Obedience(
        levers(store, Settings()),
        data_dir=store.path.parent,
        executor="test",
        request_age_s=900,
        dry_run=dry_run,
    )


async def refused(store: FlagStore, request: ActionRequested, now_us: int = NOW_US) -> str:
    before = store.path.read_bytes()
    result = await obedience(store).answer(request, now_us)
    assert result.status is ActionStatus.REFUSED
    assert store.path.read_bytes() == before
    return result.reason


async def test_frozen(store: FlagStore) -> None:
    freeze(store.path.parent, by="alice", reason="game day")
    assert await refused(store, asked()) == "actions are frozen: alice: game day"
    assert thaw(store.path.parent)
    assert not thaw(store.path.parent)
    assert (await obedience(store).answer(asked(), NOW_US)).status is ActionStatus.APPLIED


async def test_a_kill_switch_that_cannot_be_read_is_on(store: FlagStore) -> None:
    (store.path.parent / FROZEN_FILE).mkdir()
    assert "cannot be read" in await refused(store, asked())


async def test_an_empty_kill_switch_is_on(store: FlagStore) -> None:
    (store.path.parent / FROZEN_FILE).touch()
    assert "actions are frozen" in await refused(store, asked())


async def test_stale(store: FlagStore) -> None:
    assert "asked 901 s ago" in await refused(store, asked(), NOW_US + 901_000_000)


@pytest.mark.parametrize("kind", [ActionKind.SCALE_UP, ActionKind.ROLLOUT_UNDO])
async def test_no_lever(store: FlagStore, kind: ActionKind) -> None:
    assert await refused(store, asked(kind)) == f"nothing here can {kind}: a human has to do it"


async def test_what_was_applied_is_told_again_even_when_frozen_and_stale(store: FlagStore) -> None:
    first = await obedience(store).answer(asked(), NOW_US)
    freeze(store.path.parent, by="alice", reason="game day")
    assert await obedience(store).answer(asked(), NOW_US + 10**12) == first


async def test_undo(store: FlagStore) -> None:
    done = await obedience(store).answer(asked(), NOW_US)
    undo = asked(ActionKind.UNDO, action_id="undo-1", undoes=done.action_id)
    result = await obedience(store).answer(undo, NOW_US)
    assert result.status is ActionStatus.APPLIED
    assert store.read().flag(FlagKey.MODEL_VERSION).value == "v2"


async def test_undo_of_nothing(store: FlagStore) -> None:
    assert "which action" in await refused(store, asked(ActionKind.UNDO))
    reason = await refused(store, asked(ActionKind.UNDO, undoes="nobody-knows"))
    assert reason == "no record that nobody-knows was applied"


async def test_dry_run_for_all(store: FlagStore) -> None:
    before = store.path.read_bytes()
    result = await obedience(store, dry_run=True).answer(asked(), NOW_US)
    assert result.status is ActionStatus.DRY_RUN
    assert store.path.read_bytes() == before


async def test_no_flag_file(tmp_path: Path) -> None:
    result = await obedience(FlagStore(tmp_path / "flags.json")).answer(asked(), NOW_US)
    assert result.status is ActionStatus.FAILED
    assert "no such file" in result.reason
