"""Which broker: ``FAULTS_BROKER=kafka`` takes Apache Kafka. How long: ``FAULTS_OUTAGE_S``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rig import BrokerKind, RigOptions
from tests.faults.scene import Scene, running_scene
from tests.support.kafka import missing_tools

Start = Callable[..., Scene]


@pytest.fixture(scope="session")
def broker_kind() -> BrokerKind:
    """Return the broker of this session."""
    kind = os.environ.get("FAULTS_BROKER", "embedded")
    if kind == "embedded":
        return "embedded"
    assert kind == "kafka", f"FAULTS_BROKER: {kind!r}, expected embedded or kafka"
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)} (Java 17 and Maven)")
    return "kafka"


@pytest.fixture(scope="session")
def outage_s() -> float:
    """Return how long broker and store are away: longer than every timeout but the patient ones."""
    return float(os.environ.get("FAULTS_OUTAGE_S", "20"))


@pytest.fixture
def start(tmp_path: Path, broker_kind: BrokerKind) -> Iterator[Start]:
    """Give what starts a scene, with the options of a rig; it ends with the test."""
    with ExitStack() as stack:

        def begin(**options: Any) -> Scene:
            chosen = RigOptions(broker=broker_kind, **options)
            return stack.enter_context(running_scene(tmp_path, chosen))

        yield begin
