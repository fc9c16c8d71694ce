"""The API's answers: what it shows, what it asks for, and whom it lets in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from schemas.command import AckCommand, DecideCommand, ExpireCommand, SilenceCommand
from schemas.settings import ApiSettings
from tests.support.events import NOW_US
from tests.unit.tocsin.api.world import World, alert_row, at
from tocsin.api.errors import ApiStartError
from tocsin.api.serve import check_address

SILENCE = {"matchers": ["model=m"], "duration": "2h", "author": "alice", "reason": "planned"}
ACK = {"incident_id": "i-1", "author": "alice", "reason": "on it"}


def silence_row(name: str = "s-1", ends_s: float = 600, **changes: Any) -> tuple[Any, ...]:
    matchers = changes.get("matchers", ["model=m"])
    return name, matchers, "alice", "planned", at(-60), at(ends_s), False, at(-60)


def test_it_shows_alerts_with_who_looks_after_them_and_what_silences_them() -> None:
    world = World(alerts=[alert_row(by="bob")], silences=[silence_row()])
    (alert,) = world.client().get("/v1/alerts").json()["alerts"]
    assert alert["incident_id"] == "i-1"
    assert alert["acknowledged"] == {"by": "bob", "reason": ""}
    assert alert["silenced"] == "s-1"
    assert alert["firing_since"].endswith("Z")
    world.silences = []
    (alert,) = World(alerts=[alert_row()]).client().get("/v1/alerts").json()["alerts"]
    assert (alert["acknowledged"], alert["silenced"]) == (None, None)


def test_it_shows_silences_with_their_state() -> None:
    world = World(
        silences=[silence_row("s-1"), silence_row("s-2", -1), silence_row("s-3")],
        expired=[("s-3", at(-5))],
    )
    client = world.client()
    found = client.get("/v1/silences").json()["silences"]
    assert [(one["silence_id"], one["state"]) for one in found] == [("s-1", "active")]
    every = client.get("/v1/silences", params={"all": "true"}).json()["silences"]
    assert [one["state"] for one in every] == ["active", "expired", "expired"]


def test_a_silence_is_asked_for() -> None:
    world = World()
    response = world.client().post("/v1/silences", json=SILENCE)
    assert response.status_code == 201
    (command,) = world.sent
    assert isinstance(command, SilenceCommand)
    assert response.json() == {"silence_id": command.subject}
    assert (command.starts_us, command.ends_us) == (NOW_US, NOW_US + 7_200_000_000)
    assert (command.by, command.reason, command.mutes_actions) == ("alice", "planned", False)


def test_the_same_request_sent_twice_under_one_key_is_the_same_command() -> None:
    world = World()
    client = world.client()
    headers = {"Idempotency-Key": "k-1"}
    for _ in range(2):
        assert client.post("/v1/silences", json=SILENCE, headers=headers).status_code == 201
    assert len({(one.command_id, one.subject) for one in world.sent}) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"matchers": []}, "matchers"),
        ({"matchers": ["model"]}, "no matcher"),
        ({"matchers": ["feature="]}, "match every alert"),
        ({"matchers": ["model=~["]}, "regular expression"),
        ({"duration": "soon"}, "duration: 'soon' is no duration"),
        ({"duration": "0s"}, "more than 0s"),
        ({"duration": None}, "either duration or ends_at"),
        ({"ends_at": "2026-11-24T08:00:00Z"}, "either duration or ends_at"),
        ({"duration": None, "ends_at": "2020-01-01T00:00:00Z"}, "a time to come"),
        ({"duration": None, "ends_at": "2026-11-24T08:00:00"}, "with its zone"),
        ({"author": ""}, "author"),
        ({"reason": ""}, "reason"),
        ({"resaon": "x"}, "resaon"),
    ],
)
def test_a_wrong_silence_is_told_what_was_expected(changes: dict[str, Any], said: str) -> None:
    world = World()
    body = {key: value for key, value in {**SILENCE, **changes}.items() if value is not None}
    response = world.client().post("/v1/silences", json=body)
    assert response.status_code == 422
    assert said in response.json()["error"]
    assert world.sent == []


def test_a_silence_is_ended_if_there_is_one_that_holds() -> None:
    world = World(silences=[silence_row("s-1"), silence_row("s-2", -1)])
    client = world.client()
    body = {"author": "alice", "reason": "done"}
    assert client.post("/v1/silences/s-1/expire", json=body).status_code == 202
    assert isinstance(world.sent[0], ExpireCommand)
    assert client.post("/v1/silences/s-9/expire", json=body).status_code == 404
    over = client.post("/v1/silences/s-2/expire", json=body)
    assert over.status_code == 422
    assert "is over since" in over.json()["error"]
    assert len(world.sent) == 1


def test_an_open_incident_is_acknowledged_and_an_unknown_one_is_not() -> None:
    world = World(alerts=[alert_row()])
    client = world.client()
    assert client.post("/v1/acks", json=ACK).status_code == 202
    assert isinstance(world.sent[0], AckCommand)
    missing = client.post("/v1/acks", json={**ACK, "incident_id": "i-2"})
    assert missing.status_code == 404
    assert "tocsin alerts" in missing.json()["error"]
    assert client.post("/v1/acks", json={**ACK, "incident_id": "tocsin-group-1"}).status_code == 202


def test_an_action_is_decided_on() -> None:
    world = World(alerts=[alert_row()])
    body = {**ACK, "action_id": "i-1:rollback", "approve": True}
    assert world.client().post("/v1/decisions", json=body).status_code == 202
    assert isinstance(world.sent[0], DecideCommand)
    assert world.sent[0].approve


def test_a_store_that_is_away_hides_alerts_and_keeps_nobody_from_acknowledging() -> None:
    world = World(store_away=True)
    client = world.client()
    shown = client.get("/v1/alerts")
    assert shown.status_code == 503
    assert "store does not answer" in shown.json()["error"]
    assert client.post("/v1/acks", json=ACK).status_code == 202


def test_a_broker_that_is_away_is_told() -> None:
    response = World(broker_away=True).client().post("/v1/silences", json=SILENCE)
    assert response.status_code == 503
    assert "no broker" in response.json()["error"]


PATHS = [
    ("GET", "/v1/alerts"),
    ("GET", "/v1/silences"),
    ("POST", "/v1/silences"),
    ("POST", "/v1/silences/s/expire"),
    ("POST", "/v1/acks"),
    ("POST", "/v1/decisions"),
    ("GET", "/v1/rollout"),
    ("POST", "/v1/rollout/abort"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic dG9rZW4=", "token-1"])
def test_without_the_token_nothing_is_shown_or_done(method: str, path: str, header: str) -> None:
    world = World(alerts=[alert_row()])
    headers = {"Authorization": header} if header else {}
    response = world.client("token-1").request(method, path, headers=headers, json=SILENCE)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "alerts" not in response.json()
    assert world.sent == []


def test_with_the_token_it_answers() -> None:
    client = World().client("token-1")
    headers = {"Authorization": "Bearer token-1"}
    assert client.get("/v1/alerts", headers=headers).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_page_of_another_origin_can_do_nothing_without_a_token() -> None:
    world = World()
    client = world.client()
    rebound = client.get("/v1/alerts", headers={"Host": "evil.example"})
    assert rebound.status_code == 400
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        response = client.post("/v1/silences", content=b"{}", headers={"Content-Type": kind})
        assert response.status_code == 422
    assert world.sent == []


def test_a_body_that_is_no_json_or_too_long_is_refused() -> None:
    client = World(alerts=[alert_row()]).client()
    json = {"Content-Type": "application/json"}
    assert client.post("/v1/acks", content=b"{", headers=json).status_code == 422
    assert client.post("/v1/acks", content=b" " * 70_000, headers=json).status_code == 413
    assert client.get("/v1/alerts", params={"all": "maybe"}).status_code == 422
    assert client.post(
        "/v1/acks", json=ACK, headers={"Idempotency-Key": "k" * 201}
    ).status_code == (422)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "alerts.internal"])
def test_it_does_not_listen_for_others_without_a_token(host: str) -> None:
    with pytest.raises(ApiStartError, match="TOCSIN_API__TOKEN"):
        check_address(ApiSettings(host=host))
    check_address(ApiSettings(host=host, token=SecretStr("t")))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_it_may(host: str) -> None:
    check_address(ApiSettings(host=host))
