"""Fixtures of whole stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import SLACK_TOKEN
from tests.support.story import ROUTING_KEY
from tocsin.receiver import Receiver


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Stand in for Slack and PagerDuty."""
    with Receiver(slack_token=SLACK_TOKEN, pagerduty_routing_key=ROUTING_KEY) as listening:
        yield listening


@pytest.fixture(scope="module")
def rules(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of the module's ``RULES``."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(request.module.RULES)
    return path
