"""What is particular to each lever of another system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.action import ActionKind
from schemas.settings import Settings
from serving.actuators import Plan, Refusal, carry_out, levers
from serving.actuators.ledger import ActionLedger
from serving.actuators.scaling import decide_replicas
from serving.actuators.webhook_scale import sign
from serving.errors import ActuatorError
from serving.flags.store import FlagStore
from tests.support.actions import NOW_US, asked
from tests.support.systems import Kubernetes, LiteLLM, running_system


def kubernetes(system: Kubernetes, folder: Path, **changes: Any) -> Any:
    section = {
        "api_url": system.url,
        "namespace": "prod",
        "deployment": "llm",
        "token": Kubernetes.TOKEN,
        "serves": {"provider": "vllm"},
    }
    settings = Settings(actuators={"kubernetes": section | changes})
    return levers(FlagStore(folder / "flags.json"), settings)


@pytest.mark.parametrize(
    ("replicas", "settings", "wanted"),
    [
        (3, {}, 5),
        (1, {}, 2),
        (1, {"factor": 1.01}, 2),
        (7, {}, 8),
        (8, {}, "8 replicas already"),
        (0, {}, "no replicas"),
    ],
)
def test_how_far_it_scales(replicas: int, settings: dict[str, Any], wanted: object) -> None:
    given = {
        "factor": 1.5,
        "most": 8,
        "settle_s": 300,
        "last": None,
        "serves": {"provider": "vllm"},
    }
    found = decide_replicas(replicas, asked(), NOW_US, **(given | settings))
    if isinstance(found, Refusal):
        assert str(wanted) in found.reason
    else:
        assert found == wanted


async def test_new_replicas_are_given_time(tmp_path: Path) -> None:
    system = Kubernetes()
    async with running_system(system):
        lever = kubernetes(system, tmp_path)[ActionKind.SCALE_UP]
        first = asked(ActionKind.SCALE_UP, action_id="a")
        again = asked(ActionKind.SCALE_UP, action_id="b")
        await carry_out(lever, first, now_us=NOW_US, executor="t")
        early = await carry_out(lever, again, now_us=NOW_US + 299_000_000, executor="t")
        late = await carry_out(lever, again, now_us=NOW_US + 300_000_000, executor="t")
    assert (early.status, late.status) == ("refused", "applied")
    assert "scaled 299 s ago by a" in early.reason
    assert system.deployment["spec"]["replicas"] == 8


async def test_a_status_that_changes_does_not_stop_a_scaling(tmp_path: Path) -> None:
    """The resourceVersion moves with each write of the status; the action is planned anew."""
    system = Kubernetes()
    async with running_system(system):
        lever = kubernetes(system, tmp_path)[ActionKind.SCALE_UP]
        put = lever._api.put_scale
        moves = [True, True, False]

        async def put_late(scale: dict[str, Any]) -> None:
            if moves.pop(0):
                system.status_changes()
            await put(scale)

        lever._api.put_scale = put_late
        request = asked(ActionKind.SCALE_UP)
        result = await carry_out(lever, request, now_us=NOW_US, executor="t")
    assert result.status == "applied"
    assert system.writes == 1


async def test_the_rollout_goes_to_the_named_revision_and_back(tmp_path: Path) -> None:
    system = Kubernetes()
    async with running_system(system):
        lever = kubernetes(system, tmp_path)[ActionKind.ROLLOUT_UNDO]
        request = asked(ActionKind.ROLLOUT_UNDO)
        result = await carry_out(lever, request, now_us=NOW_US, executor="t")
        image = system.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        revision = system.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        assert (result.status, image, revision) == ("applied", "llm:1", "3")
        assert "revision 2 -> 1" in result.reason
        again = asked(ActionKind.ROLLOUT_UNDO, action_id="b")
        refused = await carry_out(lever, again, now_us=NOW_US, executor="t")
    assert refused.status == "refused"
    assert "v1 is rolled out" in refused.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["metadata"]["annotations"].pop("tocsin.dev/good-revision"), "no revision"),
        (lambda d: d["metadata"]["annotations"].update({"tocsin.dev/good-revision": "9"}), "9 is"),
        (lambda d: d["metadata"]["annotations"].update({"tocsin.dev/good-revision": "2"}), "the g"),
        (lambda d: d["spec"].update(paused=True), "paused"),
        (lambda d: d["spec"]["template"]["metadata"].pop("annotations"), "no annotation"),
    ],
)
async def test_no_undo_into_the_unknown(tmp_path: Path, change: Any, said: str) -> None:
    system = Kubernetes()
    change(system.deployment)
    async with running_system(system):
        lever = kubernetes(system, tmp_path)[ActionKind.ROLLOUT_UNDO]
        found = await lever.plan(asked(ActionKind.ROLLOUT_UNDO), NOW_US)
    assert isinstance(found, Refusal)
    assert said in found.reason
    assert system.writes == 0


async def test_a_token_file_is_read_anew_and_a_wrong_token_told(tmp_path: Path) -> None:
    system = Kubernetes()
    token = tmp_path / "token"
    token.write_text("expired")
    async with running_system(system):
        lever = kubernetes(system, tmp_path, token="", token_file=token)[ActionKind.SCALE_UP]
        request = asked(ActionKind.SCALE_UP)
        failed = await carry_out(lever, request, now_us=NOW_US, executor="t")
        assert failed.status == "failed"
        assert "401: Unauthorized" in failed.reason
        assert "expired" not in failed.reason
        token.write_text(f"{Kubernetes.TOKEN}\n")
        assert isinstance(await lever.plan(request, NOW_US), Plan)
        token.unlink()
        with pytest.raises(ActuatorError, match="credentials cannot be read"):
            await lever.plan(request, NOW_US)


async def test_a_tighter_limit_is_left_alone(tmp_path: Path) -> None:
    system = LiteLLM()
    system.keys["hash-1"]["rpm_limit"] = 5
    async with running_system(system):
        section = {
            "base_url": system.url,
            "master_key": LiteLLM.KEY,
            "model": "sim",
            "key_hash": "hash-1",
        }
        settings = Settings(actuators={"litellm": section})
        lever = levers(FlagStore(tmp_path / "flags.json"), settings)[ActionKind.RATE_LIMIT]
        found = await lever.plan(asked(ActionKind.RATE_LIMIT), NOW_US)
    assert isinstance(found, Refusal)
    assert "5 requests a minute already" in found.reason


def test_a_webhook_needs_a_secret_and_signatures_differ() -> None:
    with pytest.raises(ValidationError, match="secret"):
        Settings(actuators={"webhook": {"url": "http://127.0.0.1:1"}})
    signatures = {
        sign(b"a", 1, b"x"),
        sign(b"b", 1, b"x"),
        sign(b"a", 2, b"x"),
        sign(b"a", 1, b"y"),
    }
    assert len(signatures) == 4


async def test_a_lease_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "actions.json"
    first, second = ActionLedger(path), ActionLedger(path, lock_timeout_s=0.05)
    async with first.lease("scale"):
        async with second.lease("another"):
            pass
        with pytest.raises(ActuatorError, match="another executor works on scale"):
            async with second.lease("scale"):
                pass
    async with second.lease("scale"):
        pass
