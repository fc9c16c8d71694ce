"""The examples in the rollout's own descriptions."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from serving.rollout import interval, outlook
from tocsin.api import markup
from tocsin.api.rollout import span


@pytest.mark.parametrize("module", [interval, outlook, markup, span], ids=lambda m: m.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
