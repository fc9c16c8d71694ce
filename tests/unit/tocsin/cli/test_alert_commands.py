"""``tocsin alerts``, ``ack`` and ``silence`` against a listening API."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from schemas.command import AckCommand, DecideCommand, ExpireCommand, SilenceCommand
from tests.support.broker import free_port
from tests.support.waiting import until_true
from tests.unit.tocsin.api.test_app import silence_row
from tests.unit.tocsin.api.world import World, alert_row, decided_row, proposed_row
from tocsin.cli.main import app

TOKEN = "very-secret-token"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(alerts=[alert_row(by="bob")], silences=[silence_row()])
    port = free_port()
    config = uvicorn.Config(world.app(TOKEN), port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    until_true(lambda: server.started)
    monkeypatch.setenv("TOCSIN_API__PORT", str(port))
    monkeypatch.setenv("TOCSIN_API__TOKEN", TOKEN)
    yield world
    server.should_exit = True
    thread.join(10)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_alerts_are_listed_with_who_looks_after_them(world: World) -> None:
    result = run("alerts")
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    for expected in ("i-1", "error-rate", "model=m", "bob", "s-1", "1 alerts"):
        assert expected in said
    assert json.loads(run("alerts", "--json").output)[0]["incident_id"] == "i-1"


def test_an_incident_is_acknowledged(world: World) -> None:
    result = run("ack", "i-1", "--reason", "on it", "--author", "carol")
    assert result.exit_code == 0
    assert "acknowledged by carol" in result.output
    (command,) = world.sent
    assert isinstance(command, AckCommand)
    assert (command.subject, command.by, command.reason) == ("i-1", "carol", "on it")


def test_an_unknown_incident_is_named(world: World) -> None:
    result = run("ack", "i-9")
    assert result.exit_code == 2
    assert "no open incident 'i-9'" in " ".join(result.output.split())


def test_silences_are_made_listed_and_ended(world: World) -> None:
    made = run(
        "silence", "add", "model=m", "rule!=x", "--for", "2h", "--reason", "test", "--actions"
    )
    assert made.exit_code == 0
    (command,) = world.sent
    assert isinstance(command, SilenceCommand)
    assert command.matchers == ("model=m", "rule!=x")
    assert command.mutes_actions
    assert command.subject in made.output
    listed = run("silence", "list")
    assert "s-1" in listed.output
    assert "planned" in listed.output
    assert run("silence", "expire", "s-1").exit_code == 0
    assert isinstance(world.sent[1], ExpireCommand)


@pytest.mark.parametrize(("command", "approve"), [("approve", True), ("reject", False)])
@pytest.mark.parametrize("named", ["i-1:rollback", "i-1"])
def test_an_action_that_waits_is_decided_on_as_it_was_shown(
    world: World, command: str, approve: bool, named: str
) -> None:
    world.proposed = [proposed_row()]
    result = run(command, named, "--author", "ann", "--reason", "checked", "--wait", "0")
    assert result.exit_code == 0
    assert "ai.model.version: v2 -> v1" in result.output
    assert "taken back by: variant=v2" in result.output
    (sent,) = world.sent
    assert isinstance(sent, DecideCommand)
    assert (sent.subject, sent.proposal) == ("i-1:rollback", "p-i-1:rollback")
    assert (sent.approve, sent.by, sent.reason) == (approve, "ann", "checked")


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [("approved", 0, "approved by ann"), ("ignored", 2, "nothing was done: said so")],
)
def test_the_command_waits_for_what_becomes_of_it(
    world: World, status: str, code: int, said: str
) -> None:
    world.proposed = [proposed_row()]
    world.answers = lambda one: world.decided.append(decided_row(status, "ann", one.command_id))
    result = run("approve", "i-1:rollback")
    assert result.exit_code == code
    assert said in " ".join(result.output.split())


def test_what_does_not_wait_is_not_decided_on(world: World) -> None:
    missing = run("approve", "i-9")
    assert missing.exit_code == 2
    assert "no action 'i-9' waits for approval" in " ".join(missing.output.split())
    world.proposed = [proposed_row(), proposed_row("i-1:fallback")]
    several = run("reject", "i-1")
    assert several.exit_code == 2
    assert "name one of i-1:rollback, i-1:fallback" in " ".join(several.output.split())
    world.decided = [decided_row("approved")]
    done = run("approve", "i-1:rollback")
    assert done.exit_code == 2
    assert "waits no more: approved by ann: said so" in " ".join(done.output.split())
    assert world.sent == []


def test_alerts_show_what_waits_for_approval(world: World) -> None:
    world.proposed = [proposed_row()]
    said = " ".join(run("alerts").output.split())
    assert "i-1:rollback waits for approval until" in said
    assert "ai.model.version: v2 -> v1" in said
    assert "1 alerts, 1 wait for approval" in said


def test_a_wrong_matcher_is_told_by_the_commands_own_words(world: World) -> None:
    result = run("silence", "add", "model", "--reason", "test")
    assert result.exit_code == 2
    assert "'model' is no matcher" in " ".join(result.output.split())
    assert world.sent == []


@pytest.mark.parametrize(
    "command",
    [
        ["alerts"],
        ["ack", "i-1"],
        ["approve", "i-1:rollback"],
        ["silence", "list"],
        ["silence", "expire", "s-1"],
    ],
)
def test_without_the_token_or_the_api_each_command_says_what_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("TOCSIN_API__TOKEN", "wrong")
    refused = run(*command)
    assert refused.exit_code == 2
    assert "TOCSIN_API__TOKEN" in refused.output
    assert TOKEN not in refused.output
    monkeypatch.setenv("TOCSIN_API__URL", f"http://127.0.0.1:{free_port()}")
    nobody = run(*command)
    assert nobody.exit_code == 2
    assert "no API answers at" in " ".join(nobody.output.split())
    assert world.sent == []


def test_the_api_refuses_to_listen_for_others_without_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_API__HOST", "0.0.0.0")
    result = run("api")
    assert result.exit_code == 2
    assert "TOCSIN_API__TOKEN" in result.output


def test_an_address_that_the_api_cannot_have_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("api")  # the world listens there
    assert result.exit_code == 2
    assert "cannot listen on 127.0.0.1" in " ".join(result.output.split())
