"""The rollout's page and calls: what they show, whom they let in, and how they end a rollout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from schemas.flag import FlagKey
from serving.flags.lock import writer_lock
from serving.flags.store import FlagStore
from serving.rollout.machine import Metric, Outcome, RolloutState
from serving.rollout.steer import Steering
from tests.support.actions import NOW_US
from tests.support.rollouts import rolled, rollout_flags
from tests.unit.tocsin.api.world import World
from tocsin.api.session import COOKIE, LIFETIME_S

SCRIPT = "<script>alert(1)</script>"
SECOND = 1_000_000
FORM = {"author": "alice", "reason": "complaints"}
ASKED = {**FORM, "version": "v3"}
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return rollout_flags(tmp_path / "flags.json")


def world(store: FlagStore, state: RolloutState | None = None, after_s: float = 15) -> World:
    now_us = NOW_US if state is None else state.looked_at_us
    return World(flags=store.path, now_us=now_us + round(after_s * SECOND))


def read(client: TestClient, path: str = "/rollout", status: int = 200) -> str:
    """Return what a person reads on a page, without its markup."""
    response = client.get(path)
    assert response.status_code == status
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


def form_token(client: TestClient) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/rollout").text)
    assert found
    return found[1]


def canary(store: FlagStore) -> str:
    return store.read().flag(FlagKey.CANARY_PERCENT).variant


def test_a_running_rollout_is_drawn(store: FlagStore) -> None:
    state = rolled(store, looks=75)
    with Steering(store).held():
        client = world(store, state).client()
        page, shown = client.get("/rollout").text, read(client)
    assert "v3: 25 % of traffic \u00b7 Tocsin" in shown
    assert "Next: 50 % after" in shown
    assert f"{state.step_requests:,} of 1,500 requests" in shown
    assert "Went on to 25 %" in shown
    assert shown.count("no sign of harm") == 4
    assert page.count('class="plot"') == 9  # the share, and two for each metric
    assert "data-live" in page
    assert "Nobody drives" not in shown


def test_bad_figures_are_shown_with_their_reason(store: FlagStore) -> None:
    state = rolled(store, odds={Metric.ERRORS: 4})
    page = world(store, state).client().get("/rollout").text
    assert 'class="pill bad">worse<' in page
    shown = read(world(store, state).client())
    assert f"Why: {state.reason}" in shown
    assert "Taken back: 0 % gets v3" in shown
    assert "Abort" not in shown
    assert "data-live" not in page


def test_a_promoted_version_is_shown(store: FlagStore) -> None:
    shown = read(world(store, rolled(store)).client())
    assert "Promoted: all traffic gets v3 no worse at any step" in shown


def test_without_a_rollout_it_says_how_to_begin(store: FlagStore) -> None:
    shown = read(world(store).client())
    assert "No version is being rolled out" in shown
    assert "tocsin rollout start VERSION" in shown
    assert world(store).client().get("/v1/rollout").json() == {"rollout": None}


def test_what_cannot_be_known_is_not_called_none(store: FlagStore, tmp_path: Path) -> None:
    client = World(flags=tmp_path / "elsewhere.json").client()
    shown = read(client, status=503)
    assert "Unknown" in shown
    assert "TOCSIN_FLAGS__PATH" in shown
    assert client.get("/v1/rollout").status_code == 503
    rolled(store, looks=3)
    Steering(store).path.write_text("{torn")
    assert "flags.rollout.json: no rollout" in read(world(store).client(), status=503)


def test_a_metric_that_nobody_knows_is_unknown_and_no_zero(store: FlagStore) -> None:
    state = rolled(store, looks=40, missing={Metric.QUALITY: 0, Metric.COST: 30})
    client = world(store, state).client()
    shown, page = read(client), client.get("/rollout").text
    assert "Unknown: no look has found enough to compare." in shown
    quality = page.split('data-metric="quality"')[1].split("</article>")[0]
    assert quality.count("<b>unknown</b>") == 2
    assert "<b>0 %" not in quality
    assert "plot" not in quality
    assert "cost unknown since" in shown
    figures = client.get("/v1/rollout").json()["rollout"]["metrics"]
    assert figures["quality"] == {"verdict": "unknown", "evidence": None}
    assert figures["errors"]["stable"] > 0


@pytest.mark.parametrize("looks", [0, 1, 2, 13, 14])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("missing", [{}, {Metric.ERRORS: 0}, dict.fromkeys(Metric, 0)])
def test_however_little_is_known_it_is_drawn(
    store: FlagStore, looks: int, kept: bool, missing: dict[Metric, int]
) -> None:
    state = rolled(store, looks=looks, missing=missing)
    steering = Steering(store)
    for turn in range(2):
        present = steering.read()
        assert present is not None
        steering.write(present if kept else present.model_copy(update={"trail": ()}))
        page = world(store, state, after_s=0).client().get("/rollout")
        assert page.status_code == 200
        assert "nan" not in page.text
        if turn == 0:
            steering.abort("enough", by="bob", now_us=NOW_US + 10**9)
    assert "enough" in page.text


def test_figures_that_stand_still_are_called_old(store: FlagStore) -> None:
    state = rolled(store, looks=40)
    late = world(store, state, after_s=900).client()
    assert "Nobody drives this rollout: the last look ended 15 min ago" in read(late)
    with Steering(store).held():
        assert "what came since is unknown" in read(late)
        assert "Next, once it goes on:" in read(late)
        Steering(store).write(state.model_copy(update={"trouble": "the store does not answer"}))
        assert "Nothing has been learnt for 15 min: the store does not answer" in read(late)
    assert late.get("/v1/rollout").json()["rollout"]["doubts"]


def test_flags_that_somebody_has_changed_are_told(store: FlagStore) -> None:
    state = rolled(store, until_step=1)
    store.set_variant(FlagKey.CANARY_PERCENT, "0", by="bob", reason="complaints", at_us=1)
    assert "was set to 0 by bob: complaints" in read(world(store, state).client())


def test_rollouts_before_can_be_looked_at(store: FlagStore) -> None:
    first = rolled(store, odds={Metric.ERRORS: 4})
    second = rolled(store, looks=10, start_us=NOW_US + 10**10)
    client = world(store, second).client()
    page = client.get("/rollout").text
    path = f"/rollout?started={first.started_at_us}"
    assert f'href="{path}"' in page
    old = client.get(path)
    assert "taken back at 5 %" in old.text
    assert 'id="abort"' not in old.text
    assert client.get("/rollout?started=1").status_code == 404
    assert client.get("/rollout?started=x").status_code == 422


class Tags(HTMLParser):
    """What a parser of HTML finds on a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_names_and_reasons_are_texts_and_never_markup(store: FlagStore) -> None:
    store.set_variant(FlagKey.MODEL_VERSION, SCRIPT, value=SCRIPT, by=SCRIPT, reason="", at_us=1)
    store.set_variant(FlagKey.MODEL_VERSION, "v2", by="x", reason="", at_us=2)
    document = store.read()
    flag = document.flag(FlagKey.CANARY_VERSION)
    changed = replace(flag, variants={**flag.variants, SCRIPT: SCRIPT})
    store.update(lambda document: document.with_flag(changed))
    steering = Steering(store)
    state = steering.begin(SCRIPT, NOW_US)
    client = world(store, state).client()
    for turn in range(2):
        page = client.get("/rollout").text
        assert page.count("&lt;script&gt;alert(1)") >= 4
        assert "\x00" not in page
        seen = Tags(page)
        assert seen.tags.count("script") == 1
        assert not {name for name in seen.attributes if name.startswith("on")}
        if turn == 0:
            steering.abort(f'{SCRIPT}" onload="x\x00', by=SCRIPT, now_us=NOW_US)


def test_a_click_takes_the_canary_back(store: FlagStore) -> None:
    state = rolled(store, until_step=2)
    client = world(store, state).client()
    answer = client.post(
        "/rollout/abort",
        data={**FORM, "form_token": form_token(client)},
        headers=SAME,
        follow_redirects=False,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollout")
    assert canary(store) == "0"
    assert "Why: complaints" in read(client)
    change = store.read().flag(FlagKey.CANARY_PERCENT).history[-1]
    assert (change.by, change.variant) == ("alice", "0")


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        ({"form_token": None}, SAME, 403),
        ({"form_token": "0" * 64}, SAME, 403),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({}, {"Origin": "https://evil.example"}, 403),
        ({"reason": None}, SAME, 422),
        ({"author": "  "}, SAME, 422),
        ({"more": "x"}, SAME, 422),
    ],
)
def test_a_form_that_is_not_ours_does_nothing(
    store: FlagStore, changes: dict[str, str | None], headers: dict[str, str], status: int
) -> None:
    state = rolled(store, until_step=2)
    client = world(store, state).client()
    given = {**FORM, "form_token": form_token(client), **changes}
    form = {name: value for name, value in given.items() if value is not None}
    answer = client.post("/rollout/abort", data=form, headers=headers)
    assert answer.status_code == status
    assert "Nothing was done" in answer.text
    assert canary(store) == "25"


def test_a_form_for_another_rollout_does_nothing(store: FlagStore) -> None:
    state = rolled(store, until_step=1)
    client = world(store, state).client()
    token = form_token(client)
    steering = Steering(store)
    steering.abort("x", by="bob", now_us=NOW_US)
    form = {**FORM, "form_token": token}
    assert client.post("/rollout/abort", data=form, headers=SAME).status_code == 403
    rolled(store, until_step=1, start_us=NOW_US + 10**10)
    assert client.post("/rollout/abort", data=form, headers=SAME).status_code == 403
    assert canary(store) == "5"


def test_a_body_that_is_no_form_does_nothing(store: FlagStore) -> None:
    client = world(store, rolled(store, until_step=1)).client()
    for content, media in (
        (b"{}", "application/json"),
        (b"a=1&a=2", "application/x-www-form-urlencoded"),
        (b"reason=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"\xff", "application/x-www-form-urlencoded"),
    ):
        answer = client.post("/rollout/abort", content=content, headers={"Content-Type": media})
        assert answer.status_code == 422
    assert canary(store) == "5"


def test_flags_that_cannot_be_written_are_told(
    store: FlagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = rolled(store, until_step=1)
    here = world(store, state)
    client = here.client()
    monkeypatch.setattr("serving.flags.store.writer_lock", lambda path, _: writer_lock(path, 0.02))
    with writer_lock(store.path):
        answer = client.post("/v1/rollout/abort", json=ASKED)
    assert answer.status_code == 503
    assert "`tocsin rollout abort` does the same" in answer.json()["error"]
    assert canary(store) == "5"


def test_programs_can_end_it(store: FlagStore) -> None:
    state = rolled(store, until_step=2)
    client = world(store, state).client("token-1")
    headers = {"Authorization": "Bearer token-1"}
    assert client.post("/v1/rollout/abort", json=ASKED).status_code == 401
    found = client.get("/v1/rollout", headers=headers).json()["rollout"]
    assert (found["version"], found["step"], found["next"]["requests_needed"]) == (
        "v3",
        "25",
        1_500,
    )
    other = client.post("/v1/rollout/abort", json={**FORM, "version": "v1"}, headers=headers)
    assert (other.status_code, canary(store)) == (404, "25")
    answer = client.post("/v1/rollout/abort", json=ASKED, headers=headers)
    assert answer.json() == {"version": "v3", "outcome": Outcome.ABORTED}
    assert canary(store) == "0"
    assert client.post("/v1/rollout/abort", json=ASKED, headers=headers).status_code == 404


def log_in(client: TestClient, **form: str) -> Any:
    data = {"token": "token-1", **form}
    return client.post("/rollout/login", data=data, headers=SAME, follow_redirects=False)


def test_with_a_token_one_has_to_log_in(store: FlagStore) -> None:
    state = rolled(store, until_step=2)
    here = world(store, state)
    client = here.client("token-1")
    assert "v3" not in read(client, status=401)
    assert log_in(client, token="wrong").status_code == 401
    assert client.get("/rollout").status_code == 401
    answer = log_in(client, next="/rollout?started=5")
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollout?started=5")
    cookie = answer.headers["set-cookie"]
    for said in ("HttpOnly", "SameSite=strict", "Path=/rollout", f"Max-Age={LIFETIME_S}"):
        assert said in cookie
    assert "token-1" not in cookie
    assert "25 % of traffic" in read(client)
    token = form_token(client)
    here.now_us += (LIFETIME_S + 1) * SECOND
    assert client.get("/rollout").status_code == 401
    late = client.post("/rollout/abort", data={**FORM, "form_token": token}, headers=SAME)
    assert (late.status_code, canary(store)) == (401, "25")


def test_logging_out_ends_the_session(store: FlagStore) -> None:
    client = world(store).client("token-1")
    log_in(client)
    assert client.get("/rollout").status_code == 200
    client.post("/rollout/logout", headers=SAME, follow_redirects=False)
    assert client.get("/rollout").status_code == 401


@pytest.mark.parametrize("path", ["https://evil.example", "//evil.example", "/v1/alerts", ""])
def test_logging_in_leads_nowhere_else(store: FlagStore, path: str) -> None:
    answer = log_in(world(store).client("token-1"), next=path)
    assert answer.headers["location"] == "/rollout"


def test_another_page_cannot_log_a_browser_in(store: FlagStore) -> None:
    client = world(store).client("token-1")
    answer = client.post(
        "/rollout/login", data={"token": "token-1"}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


Forge = Callable[[str], str]


@pytest.mark.parametrize(
    "forge",
    [
        lambda cookie: "",
        lambda cookie: "x",
        lambda cookie: "9999999999." + cookie.partition(".")[2],
        lambda cookie: cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
    ],
)
def test_a_forged_session_is_none(store: FlagStore, forge: Forge) -> None:
    client = world(store).client("token-1")
    log_in(client)
    forged = forge(client.cookies[COOKIE])
    stranger = world(store).client("token-1")
    assert stranger.get("/rollout", headers={"Cookie": f"{COOKIE}={forged}"}).status_code == 401
    other = world(store).client("token-2")
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    assert other.get("/rollout", headers={"Cookie": cookie}).status_code == 401


def test_the_browser_loads_and_sends_nothing_elsewhere(store: FlagStore) -> None:
    client = world(store, rolled(store, looks=20)).client()
    answer = client.get("/rollout")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "style=" not in answer.text
    for path in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
        assert path.startswith("/rollout")
        found = client.get(path)
        assert (found.status_code, found.headers["x-content-type-options"]) == (200, "nosniff")
        assert found.headers["cache-control"] in ("no-cache", "no-store")
    assert client.get("/rollout", headers={"Host": "evil.example"}).status_code == 400
