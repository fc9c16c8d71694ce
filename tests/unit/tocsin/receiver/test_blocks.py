from __future__ import annotations

import pytest

from tocsin.receiver.blocks import block_problems


def text(value: str, kind: str = "mrkdwn") -> dict[str, str]:
    return {"type": kind, "text": value}


GOOD = [
    {"type": "header", "text": text("h" * 150, "plain_text")},
    {"type": "divider"},
    {"type": "section", "text": text("s" * 3_000)},
    {"type": "section", "fields": [text("f")] * 10},
    {"type": "context", "elements": [text("c")] * 10},
    {"type": "actions", "elements": [{"type": "button", "text": text("b", "plain_text")}]},
]


def test_everything_within_the_limits_is_taken() -> None:
    assert block_problems(GOOD) == []
    assert block_problems([{"type": "divider"}] * 50) == []


@pytest.mark.parametrize(
    ("blocks", "pointer"),
    [
        ({}, "/blocks"),
        ([{"type": "divider"}] * 51, "/blocks"),
        (["text"], "/blocks/0"),
        ([{"type": "banner"}], "/blocks/0/type"),
        ([{"type": "divider", "block_id": "x" * 256}], "/blocks/0/block_id"),
        ([{"type": "header", "text": text("h" * 151, "plain_text")}], "/blocks/0/text/text"),
        ([{"type": "header", "text": text("h")}], "/blocks/0/text/type"),
        ([{"type": "header"}], "/blocks/0/text"),
        ([{"type": "section"}], "/blocks/0"),
        ([{"type": "section", "text": text("s" * 3_001)}], "/blocks/0/text/text"),
        ([{"type": "section", "text": text("")}], "/blocks/0/text/text"),
        ([{"type": "section", "fields": [text("f")] * 11}], "/blocks/0/fields"),
        ([{"type": "section", "fields": [text("f" * 2_001)]}], "/blocks/0/fields/0/text"),
        ([{"type": "context", "elements": []}], "/blocks/0/elements"),
        ([{"type": "actions", "elements": ["b"]}], "/blocks/0/elements/0"),
        (
            [{"type": "actions", "elements": [{"type": "button", "text": text("b" * 76)}]}],
            "/blocks/0/elements/0/text/text",
        ),
    ],
)
def test_every_limit_is_named_where_it_is_broken(blocks: object, pointer: str) -> None:
    problems = block_problems(blocks)
    assert any(problem.endswith(f"[json-pointer:{pointer}]") for problem in problems), problems
