"""Headless Chromium, driven over WebDriver: the page as a person's browser shows it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.support.story import StoryClock
from tocsin.receiver import Receiver

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1440,1300",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "install Debian's package chromium"
    assert chromedriver, "install Debian's package chromium-driver"
    options = ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # No proxy stands between this machine and itself.
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}
    driver = Chrome(options=options, service=Service(chromedriver, env=environment))
    driver.implicitly_wait(0)
    yield driver
    driver.quit()


@pytest.fixture
def clock() -> StoryClock:
    return StoryClock()


@pytest.fixture
def receiver(clock: StoryClock) -> Iterator[Receiver]:
    with Receiver(clock=clock) as receiver:
        yield receiver


@pytest.fixture
def page(chrome: Chrome, receiver: Receiver) -> Iterator[Chrome]:
    """The receiver's page, live; the test fails if the browser complains of anything."""
    chrome.get_log("browser")
    chrome.get(f"{receiver.url}/")
    yield chrome
    complaints = [entry["message"] for entry in chrome.get_log("browser")]
    chrome.get("about:blank")
    assert complaints == []
