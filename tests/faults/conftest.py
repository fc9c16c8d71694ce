"""Which broker: ``FAULTS_BROKER=kafka`` takes Apache Kafka. How long: ``FAULTS_OUTAGE_S``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.rig import BrokerKind, RigOptions
from tests.faults.scene import Scene, running_scene
from tests.support.kafka import missing_tools

Start = Callable[..., Scene]

_TIME_SCALE: Final = 2.5
"""Short windows, which can be corrected for longer than rebalances take on a busy machine."""

_TOLD_LINES: Final = 40

_PASSED = pytest.StashKey[bool]()


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
def start(broker_kind: BrokerKind, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Give what starts a scene, with the options of a rig; it ends with the test.

    The logs of a test that failed are kept, and it says where, and how they end.
    """
    path = Path(tempfile.mkdtemp(prefix="tocsin-faults-"))
    with ExitStack() as stack:

        def begin(**options: Any) -> Scene:
            chosen = RigOptions(broker=broker_kind, **{"time_scale": _TIME_SCALE, **options})
            return stack.enter_context(running_scene(path, chosen))

        yield begin
    if request.node.stash.get(_PASSED, False):
        shutil.rmtree(path, ignore_errors=True)
    else:
        print(f"logs are in {path}; their ends:")  # noqa: T201
        for file in sorted(path.glob("*.log")):
            lines = file.read_text(errors="replace").splitlines()
            print(f"== {file.name}", *lines[-_TOLD_LINES:], sep="\n")  # noqa: T201


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether a test passed, for those who clean up after it."""
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report
