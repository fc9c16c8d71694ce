"""What needs Alertmanager's binary and real time is marked ``oracle`` and runs when asked for."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "oracle: compares with another program (prometheus-alertmanager)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the marked ones out unless they are asked for."""
    if "oracle" in str(config.getoption("-m")).replace("not oracle", ""):
        return
    left = [item for item in items if item.get_closest_marker("oracle")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
