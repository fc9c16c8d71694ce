from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from slack_sdk.web.async_client import AsyncWebClient

from schemas.signal import SignalName
from tests.support import story
from tests.support.story import StoryClock
from tocsin.receiver import Point, Receiver, ReceiverClient, Step, StepName

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
SCRIPT = "<script>window.pwned = true</script><img src=x onerror='window.pwned = true'>"


def wait(page: Chrome, what: str, script: str, *arguments: object) -> Any:
    """Return what the script returns as soon as that is true."""
    return WebDriverWait(page, 10, 0.05).until(
        lambda driver: driver.execute_script(script, *arguments), message=f"never saw {what}"
    )


def wait_text(page: Chrome, selector: str, text: str) -> None:
    script = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1])"
    wait(page, f"{text!r} in {selector}", script, selector, text)


def texts(page: Chrome, selector: str) -> list[str]:
    return [element.text for element in page.find_elements(By.CSS_SELECTOR, selector)]


def count(page: Chrome, selector: str) -> int:
    return len(page.find_elements(By.CSS_SELECTOR, selector))


async def test_the_whole_story_appears_without_a_reload(
    page: Chrome, receiver: Receiver, clock: StoryClock
) -> None:
    wait_text(page, "#status", "live")
    assert texts(page, ".steps .done") == []
    await story.tell(receiver, clock, until=3)
    wait_text(page, "#incidents", "Triggered")
    assert texts(page, ".steps .done strong") == ["Regression began", "First signal", "Page sent"]
    (title,) = texts(page, ".message h3")
    assert title.startswith("🚨")
    assert "6.2 % of requests fail" in title
    assert texts(page, "#spans") == ["Regression to page\n6.3 s"]


async def test_an_incident_is_one_message_that_changes_with_its_thread(
    page: Chrome, receiver: Receiver, clock: StoryClock
) -> None:
    await story.tell(receiver, clock)
    wait_text(page, "#incidents", "Resolved")
    wait_text(page, ".message h3", "RESOLVED")
    assert count(page, "#messages > .message") == 1
    assert count(page, ".thread .message") == 3
    assert texts(page, ".edited") == ["edited 3 times, last 11:07:24"]
    assert texts(page, ".thread .badge") == ["APP", "ALSO IN THE CHANNEL", "APP", "APP"]
    assert count(page, ".incident") == 1
    log = texts(page, ".incident .log li")
    assert [line.split(":", 3)[2][3:] for line in log] == [
        "triggered",
        "triggered again (nobody paged)",
        "triggered again (nobody paged)",
        "resolved",
    ]
    assert texts(page, "#spans dd") == ["6.3 s", "15.6 s", "16.1 s"]
    assert count(page, ".steps .pending") == 0


async def test_a_page_opened_late_shows_the_same(
    page: Chrome, receiver: Receiver, clock: StoryClock
) -> None:
    await story.tell(receiver, clock)
    wait_text(page, ".message h3", "RESOLVED")
    wait(page, "the charts", "return document.querySelectorAll('path.series').length == 10")
    live = page.execute_script("return document.querySelector('main').innerText")
    page.refresh()
    wait_text(page, ".message h3", "RESOLVED")
    wait(page, "the charts", "return document.querySelectorAll('path.series').length == 10")
    assert page.execute_script("return document.querySelector('main').innerText") == live


async def test_texts_from_anywhere_are_shown_and_never_run(
    page: Chrome, receiver: Receiver
) -> None:
    slack = AsyncWebClient("x", base_url=receiver.slack_base_url)
    evil = {"type": "mrkdwn", "text": f"label {SCRIPT} <javascript:window.pwned=true|press>"}
    await slack.chat_postMessage(
        channel=f"#{SCRIPT}",
        username=SCRIPT,
        text=SCRIPT,
        blocks=[
            {"type": "header", "text": {"type": "plain_text", "text": SCRIPT}},
            {"type": "section", "text": evil, "fields": [evil]},
            {"type": "context", "elements": [evil]},
            {"type": "image", "image_url": "javascript:window.pwned=true", "alt_text": SCRIPT},
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "text": {"type": "plain_text", "text": "go"},
                        "url": "javascript:window.pwned=true",
                    }
                ],
            },
        ],
        attachments=[
            {
                "color": "red;background:url(javascript:window.pwned=true)",
                "title": SCRIPT,
                "title_link": "javascript:window.pwned=true",
                "text": SCRIPT,
            }
        ],
    )
    page_event = {
        "routing_key": story.ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": SCRIPT,
        "client": SCRIPT,
        "client_url": "javascript:window.pwned=true",
        "payload": {
            "summary": SCRIPT,
            "severity": "critical",
            "source": SCRIPT,
            "component": SCRIPT,
            "custom_details": {SCRIPT: [SCRIPT, {"deep": SCRIPT}]},
        },
    }
    async with httpx.AsyncClient(base_url=receiver.pagerduty_base_url) as pagerduty:
        (await pagerduty.post("/v2/enqueue", json=page_event)).raise_for_status()
    async with ReceiverClient(receiver.url, receiver.token) as client:
        await client.step(Step(step=SCRIPT[:200], at_us=1, title=SCRIPT, detail=SCRIPT))
        await client.points(
            [Point(signal=SignalName.ERROR_RATE, series=SCRIPT, at_us=1, value=0.1)]
        )
    wait_text(page, ".incident h3", SCRIPT)
    wait_text(page, "#legend", SCRIPT)
    for selector in (".message h3", ".message-head strong", ".attachment", ".steps", "td", "th"):
        assert SCRIPT in page.find_element(By.CSS_SELECTOR, selector).text, selector
    assert page.execute_script("return window.pwned") is None
    assert count(page, "script") == 1
    assert count(page, "img:not([src='/page/bell.svg'])") == 0
    links = page.execute_script("return [...document.links].map((link) => link.protocol)")
    assert set(links) <= {"http:", "https:"}


async def test_an_unknown_value_is_a_gap_and_called_unknown(
    page: Chrome, receiver: Receiver
) -> None:
    values = [0.01, 0.02, None, 0.03, 0.04, None]
    points = [
        Point(signal=SignalName.ERROR_RATE, series="v2", at_us=n * 10**6, value=value)
        for n, value in enumerate(values, start=1)
    ]
    wait_text(page, "#status", "live")
    async with ReceiverClient(receiver.url, receiver.token) as client:
        await client.points([points[0], *points[2:]])
        await client.points([points[1], points[2]])  # late, and told again
    chart = "[data-signal='error_rate']"
    wait_text(page, f"{chart} .values", "unknown")
    label = "return document.querySelector(arguments[0] + ' svg[role=img]')?.ariaLabel"
    assert wait(page, "the chart", label, chart) == "Error rate: v2 unknown"
    path = page.find_element(By.CSS_SELECTOR, f"{chart} path.series").get_attribute("d") or ""
    assert (path.count("M"), path.count("L")) == (2, 2)


async def test_a_time_without_points_is_a_gap_and_old_values_are_no_news(
    page: Chrome, receiver: Receiver
) -> None:
    seconds = {"old": [1, 2, 3], "new": [1, 2, 3, 60, 61, 62]}
    async with ReceiverClient(receiver.url, receiver.token) as client:
        await client.points(
            [
                Point(signal=SignalName.ERROR_RATE, series=series, at_us=s * 10**6, value=0.5)
                for series, times in seconds.items()
                for s in times
            ]
        )
    chart = "[data-signal='error_rate']"
    wait(page, "both lines", "return document.querySelectorAll('path.series').length == 2")
    paths = page.find_elements(By.CSS_SELECTOR, f"{chart} path.series")
    assert [(path.get_attribute("d") or "").count("M") for path in paths] == [1, 2]
    assert texts(page, f"{chart} .values li") == ["no data", "50 %"]


async def test_changes_are_told_to_a_screen_reader(page: Chrome, receiver: Receiver) -> None:
    async with ReceiverClient(receiver.url, receiver.token) as client:
        wait_text(page, "#status", "live")
        await client.step(Step(step=StepName.PAGED, at_us=story.START_US))
        wait_text(page, "#announcer[aria-live=polite]", "Step 1: Page sent")


async def test_a_lost_receiver_is_said_and_found_again(page: Chrome, receiver: Receiver) -> None:
    wait_text(page, "#status", "live")
    receiver.stop()
    wait_text(page, "#status", "connection lost")
    with Receiver(receiver.port) as again:
        await AsyncWebClient("x", base_url=again.slack_base_url).chat_postMessage(
            channel="#back", text="again"
        )
        wait_text(page, "#status", "live")
        wait_text(page, "#messages", "again")
    page.get_log("browser")  # the refused connections in between


def test_the_theme_button_goes_round(page: Chrome) -> None:
    button = page.find_element(By.ID, "theme")
    seen = {}
    for _ in range(3):
        button.click()
        ground = "return getComputedStyle(document.body).backgroundColor"
        seen[button.text] = page.execute_script(ground)
    assert list(seen) == ["Theme: light", "Theme: dark", "Theme: system"]
    assert seen["Theme: light"] != seen["Theme: dark"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("until", [3, len(story.STEPS)])
async def test_every_text_has_the_contrast_of_wcag_aa(
    page: Chrome, receiver: Receiver, clock: StoryClock, scheme: str, until: int
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    await story.tell(receiver, clock, until=until)
    buttons = [
        {"type": "button", "style": style, "text": {"type": "plain_text", "text": style}}
        for style in ("primary", "danger", "default")
    ]
    await AsyncWebClient("x", base_url=receiver.slack_base_url).chat_postMessage(
        channel="#a",
        text="x",
        blocks=[{"type": "actions", "elements": buttons}],
        attachments=[{"text": "`code` <!here> <https://tocsin.invalid|link>", "footer": "foot"}],
    )
    page.refresh()
    wait_text(page, "#incidents", "Dedup key")
    wait(page, "the charts", "return document.querySelectorAll('path.series').length == 10")
    measured = page.execute_script(CONTRAST)
    assert len(measured) > 50
    assert [one for one in measured if one["ratio"] < 4.5] == []


async def test_a_narrow_window_needs_no_sideways_scrolling(
    page: Chrome, receiver: Receiver, clock: StoryClock
) -> None:
    await story.tell(receiver, clock)
    page.set_window_size(500, 900)
    try:
        wait_text(page, ".message h3", "RESOLVED")
        over = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.execute_script(over) <= 0
    finally:
        page.set_window_size(1440, 1300)
