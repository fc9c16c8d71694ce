"""When fallback acts, and every reason for which it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.action import ActionKind
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.fallback import decide_fallback
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.initial import initial_document
from tests.support.actions import NOW_US, asked


@pytest.fixture
def document() -> FlagDocument:
    return initial_document(providers=["a", "b", "c"], versions=["v1"], at_us=NOW_US)


def decide(document: FlagDocument, provider: str) -> str:
    decision = decide_fallback(document, asked(ActionKind.FALLBACK, labels={"provider": provider}))
    return f"refused: {decision.reason}" if isinstance(decision, Refusal) else decision


def on(document: FlagDocument, provider: str) -> FlagDocument:
    return document.switched(
        FlagKey.MODEL_PROVIDER,
        provider,
        kind=ChangeKind.FALLBACK,
        at_us=NOW_US,
        by="test",
        reason="test",
    )


def test_it_takes_the_next_of_the_chain(document: FlagDocument) -> None:
    assert decide(document, "a") == "b"
    assert decide(on(document, "b"), "b") == "c"


def test_the_chain_is_exhausted(document: FlagDocument) -> None:
    assert "last of the chain a -> b -> c" in decide(on(document, "c"), "c")


def test_already_on_another(document: FlagDocument) -> None:
    assert "somebody has acted already" in decide(on(document, "b"), "a")


def test_no_chain(document: FlagDocument) -> None:
    flag = replace(document.flag(FlagKey.MODEL_PROVIDER), chain=())
    assert "no chain" in decide(document.with_flag(flag), "a")


def test_not_in_the_chain(document: FlagDocument) -> None:
    flag = replace(document.flag(FlagKey.MODEL_PROVIDER), chain=("b", "c"))
    assert "a is not in the chain" in decide(document.with_flag(flag), "a")
