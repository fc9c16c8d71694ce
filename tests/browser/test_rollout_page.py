"""The rollout's page in a browser: alive, readable, on a phone too, and one can abort on it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from schemas.flag import FlagKey
from serving.rollout.drive import step
from serving.rollout.machine import Metric, RolloutState
from serving.rollout.steer import Steering
from tests.support.broker import free_port
from tests.support.rollouts import EVERY_S, Requests, rolled, rollout_flags
from tests.unit.tocsin.api.world import World

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
SCRIPT = "<script>window.pwned = true</script><img src=x onerror='window.pwned = true'>"
OPEN = "for (const one of document.querySelectorAll('details')) one.open = true"
SECOND = 1_000_000


class Served:
    """The API over a rollout, in a thread."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.store = rollout_flags(folder / "flags.json")
        self.steering = Steering(self.store)
        self.world = World(flags=self.store.path)
        self._port = free_port()
        config = uvicorn.Config(
            self.world.app(token), port=self._port, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/rollout"

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)
        assert self._server.started

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def show(self, state: RolloutState) -> RolloutState:
        self.world.now_us = state.looked_at_us + 15 * SECOND
        return state


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    """A browser without a past; the test fails if it complains of anything."""
    chrome.get_log("browser")
    chrome.delete_all_cookies()
    yield chrome
    complaints = [entry["message"] for entry in chrome.get_log("browser")]
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    chrome.set_window_size(1440, 1300)
    chrome.get("about:blank")
    assert complaints == []


def wait_text(page: Chrome, selector: str, text: str) -> None:
    script = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1])"
    WebDriverWait(page, 20, 0.1).until(
        lambda driver: driver.execute_script(script, selector, text),
        message=f"never saw {text!r} in {selector}",
    )


def seen(page: Chrome, selector: str = "main") -> str:
    return " ".join(page.find_element(By.CSS_SELECTOR, selector).text.split())


def overflow(page: Chrome) -> int:
    script = "return document.documentElement.scrollWidth - window.innerWidth"
    return int(page.execute_script(script))


def test_the_page_follows_the_rollout_without_a_reload(browser: Chrome, served: Served) -> None:
    state = served.show(rolled(served.store, until_step=1))
    requests = Requests(served.steering)
    browser.get(served.url)
    browser.execute_script("window.same = true")
    assert seen(browser, "#headline") == "5 % of traffic"
    browser.execute_script("document.getElementById('figures').open = true")
    while state.step == 1:
        state = step(state, served.steering, requests, state.looked_at_us + EVERY_S * SECOND)
    served.show(state)
    wait_text(browser, "#headline", "25 % of traffic")
    assert browser.title.startswith("v3: 25 %")
    wait_text(browser, "#announcer[aria-live=polite]", "v3: 25 %")
    assert browser.execute_script("return window.same && document.getElementById('figures').open")
    assert seen(browser, "#status") == "live"


def test_what_somebody_types_is_not_taken_away(browser: Chrome, served: Served) -> None:
    served.show(rolled(served.store, until_step=1))
    browser.get(served.url)
    browser.find_element(By.CSS_SELECTOR, "#abort summary").click()
    browser.find_element(By.NAME, "reason").send_keys("customers")
    browser.execute_script("document.activeElement.blur()")
    served.show(rolled(served.store, until_step=2))
    time.sleep(6)  # longer than the page waits between two questions
    field = browser.find_element(By.NAME, "reason")
    assert field.get_attribute("value") == "customers"


def test_one_can_abort_with_the_keyboard(browser: Chrome, served: Served) -> None:
    served.show(rolled(served.store, until_step=2))
    browser.get(served.url)
    browser.find_element(By.CSS_SELECTOR, "#abort summary").send_keys("\ue007")
    for name, text in (("author", "alice"), ("reason", "customers complain")):
        browser.find_element(By.NAME, name).send_keys(text)
    browser.find_element(By.NAME, "reason").send_keys("\ue007")
    wait_text(browser, "#headline", "taken back at 25 %")
    assert "Why: customers complain" in seen(browser)
    assert served.store.read().flag(FlagKey.CANARY_PERCENT).variant == "0"
    assert browser.find_elements(By.ID, "abort") == []


def test_with_a_token_one_logs_in_first(browser: Chrome, tmp_path: Path) -> None:
    served = Served(tmp_path, "token-1")
    served.start()
    try:
        served.show(rolled(served.store, until_step=2))
        browser.get(served.url)
        assert "v3" not in seen(browser)
        for token, text in (("wrong", "That is not the token"), ("token-1", "25 % of traffic")):
            browser.find_element(By.ID, "token").send_keys(token, "\ue007")
            wait_text(browser, "main", text)
        assert browser.execute_script("return document.cookie") == ""
        browser.find_element(By.CSS_SELECTOR, ".bar form button").click()
        wait_text(browser, "main", "Token of the API")
    finally:
        served.stop()
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in refused if "401" not in message] == []


def test_a_cross_hair_reads_every_chart_at_one_moment(browser: Chrome, served: Served) -> None:
    served.show(rolled(served.store, looks=70))
    browser.get(served.url)
    script = """
        const plot = document.querySelector("svg.plot");
        const box = plot.getBoundingClientRect();
        const at = {clientX: box.left + box.width / 2, clientY: box.top + 20, bubbles: true};
        plot.dispatchEvent(new PointerEvent("pointermove", at));
        return [...document.querySelectorAll(".readout")].map((one) => one.textContent);
    """
    words = browser.execute_script(script)
    assert len(words) == 9
    assert len({text.split()[0] for text in words}) == 1  # the same moment
    assert "set 5 %, observed" in words[0]
    assert "canary" in words[1]
    assert "evidence" in words[2]
    browser.execute_script(
        "document.querySelector('svg.plot')"
        ".dispatchEvent(new PointerEvent('pointerout', {bubbles: true}))"
    )
    assert browser.find_elements(By.CSS_SELECTOR, ".cross") == []


def test_the_page_is_whole_without_scripts(browser: Chrome, served: Served) -> None:
    served.show(rolled(served.store, looks=70))
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(served.url)
    text = seen(browser)
    for words in ("5 % of traffic", "Next", "Stable against canary", "Decisions"):
        assert words in text
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg.plot")) == 9
    browser.find_element(By.CSS_SELECTOR, "#abort summary").click()
    browser.find_element(By.NAME, "author").send_keys("alice")
    browser.find_element(By.NAME, "reason").send_keys("no scripts here", "\ue007")
    WebDriverWait(
        browser,
        20,
        0.1,
        ignored_exceptions=[NoSuchElementException, StaleElementReferenceException],
    ).until(lambda page: "Why: no scripts here" in seen(page))


def test_names_from_anywhere_are_shown_and_never_run(browser: Chrome, served: Served) -> None:
    store, steering = served.store, served.steering
    store.set_variant(FlagKey.MODEL_VERSION, SCRIPT, value=SCRIPT, by="x", reason="", at_us=1)
    store.set_variant(FlagKey.MODEL_VERSION, "v2", by="x", reason="", at_us=2)
    flag = store.read().flag(FlagKey.CANARY_VERSION)
    changed = replace(flag, variants={**flag.variants, SCRIPT: SCRIPT})
    store.update(lambda document: document.with_flag(changed))
    served.show(steering.begin(SCRIPT, served.world.now_us))
    browser.get(served.url)
    assert SCRIPT in seen(browser, "#which")
    assert SCRIPT in browser.title
    steering.abort(SCRIPT, by=SCRIPT, now_us=served.world.now_us)
    wait_text(browser, ".next", SCRIPT)  # by the page's own refresh
    assert browser.execute_script("return window.pwned") is None
    assert len(browser.find_elements(By.CSS_SELECTOR, "script")) == 1
    assert len(browser.find_elements(By.CSS_SELECTOR, "main img")) == 0


def scene(served: Served, name: str) -> None:
    store = served.store
    if name == "running":
        rolled(store, odds={Metric.ERRORS: 4}, start_us=1_700_000_000_000_000)
        served.show(rolled(store, looks=80, missing={Metric.QUALITY: 50, Metric.COST: 0}))
    elif name == "taken back":
        served.show(rolled(store, odds={Metric.ERRORS: 4}))
    elif name == "unknown":
        store.path.unlink()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["running", "taken back", "nothing", "unknown"])
def test_every_text_has_the_contrast_of_wcag_aa(
    browser: Chrome, served: Served, scheme: str, name: str
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    scene(served, name)
    browser.get(served.url)
    browser.execute_script(OPEN)
    measured: list[dict[str, Any]] = browser.execute_script(CONTRAST)
    assert len(measured) > (4 if name in ("nothing", "unknown") else 100)
    assert [one for one in measured if one["ratio"] < 4.5] == []
    if name == "unknown":
        (message,) = [entry["message"] for entry in browser.get_log("browser")]
        assert "503" in message


@pytest.mark.parametrize("name", ["running", "taken back", "nothing"])
def test_a_phone_needs_no_sideways_scrolling(browser: Chrome, served: Served, name: str) -> None:
    scene(served, name)
    browser.set_window_size(500, 900)
    browser.get(served.url)
    browser.execute_script(OPEN)
    assert overflow(browser) <= 0
