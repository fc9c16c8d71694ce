"""Two executors and an action that is delivered again and again: it takes effect once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from schemas.action import ActionKind, ActionRequested, ActionResult
from schemas.flag import FlagKey
from schemas.settings import Settings
from serving.actuators import levers
from serving.flags.store import FlagStore
from serving.obey import Obedience
from tests.support.actions import NOW_US, asked, promoted_flags
from tests.support.systems import Kubernetes, running_system

RUNS = 100
REMOTE_RUNS = 25  # over HTTP, which takes its time


def executor(folder: Path, name: str, settings: Settings) -> Obedience:
    return Obedience(
        levers(FlagStore(folder / "flags.json"), settings),
        data_dir=folder,
        executor=name,
        request_age_s=900,
    )


async def deliver(folder: Path, request: ActionRequested, settings: Settings) -> list[ActionResult]:
    """Hand the same request to two executors at once, three times each."""
    executors = [executor(folder, name, settings) for name in ("one", "two")]
    return await asyncio.gather(
        *(obeys.answer(request, NOW_US + n) for n in range(3) for obeys in executors)
    )


async def test_a_flag_is_switched_once_in_every_run(tmp_path: Path) -> None:
    for run in range(RUNS):
        folder = tmp_path / str(run)
        folder.mkdir()
        store = promoted_flags(folder / "flags.json")
        results = await deliver(folder, asked(), Settings())
        assert len({result.to_json() for result in results}) == 1
        assert results[0].status == "applied"
        changes = [c.variant for c in store.read().flag(FlagKey.MODEL_VERSION).history]
        assert changes == ["v1", "v2", "v1"]


async def test_a_deployment_is_scaled_once_in_every_run(tmp_path: Path) -> None:
    request = asked(ActionKind.SCALE_UP)
    for run in range(REMOTE_RUNS):
        folder = tmp_path / str(run)
        folder.mkdir()
        system = Kubernetes()
        async with running_system(system):
            kubernetes = {
                "api_url": system.url,
                "namespace": "prod",
                "deployment": "llm",
                "token": Kubernetes.TOKEN,
                "serves": {"provider": "vllm"},
            }
            settings = Settings(actuators={"kubernetes": kubernetes})
            results = await deliver(folder, request, settings)
        assert len({result.to_json() for result in results}) == 1
        assert results[0].status == "applied"
        assert (system.writes, system.deployment["spec"]["replicas"]) == (1, 5)


async def test_a_broken_ledger_of_other_systems_does_not_stand_in_a_rollbacks_way(
    tmp_path: Path,
) -> None:
    promoted_flags(tmp_path / "flags.json")
    (tmp_path / "flags.actions.json").write_text("{torn")
    settings = Settings(actuators={"adapters": {"base_url": "http://127.0.0.1:1"}})
    obeys = executor(tmp_path, "one", settings)
    assert (await obeys.answer(asked(), NOW_US)).status == "applied"
    undo = asked(ActionKind.UNDO, action_id="undo", undoes=asked().action_id)
    assert (await obeys.answer(undo, NOW_US)).status == "failed"
