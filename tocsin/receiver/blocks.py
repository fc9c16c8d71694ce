"""What Slack refuses in ``blocks``: its published limits of Block Kit.

Source: Slack's Block Kit reference (limits per block and per message).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["MAX_BLOCKS", "block_problems"]

MAX_BLOCKS: Final = 50

_KNOWN: Final = frozenset(
    {
        "actions",
        "context",
        "divider",
        "file",
        "header",
        "image",
        "input",
        "markdown",
        "rich_text",
        "section",
        "table",
        "video",
    }
)
_TEXT_LIMITS: Final[Mapping[str, int]] = {"section": 3_000, "header": 150}
_FIELDS, _FIELD_CHARS = 10, 2_000
_ELEMENTS: Final[Mapping[str, int]] = {"context": 10, "actions": 25}
_BUTTON_CHARS = 75


def block_problems(blocks: object) -> list[str]:
    """Return what Slack would complain of, each with its JSON pointer; empty when all is well."""
    if not isinstance(blocks, list):
        return ["must be an array [json-pointer:/blocks]"]
    if len(blocks) > MAX_BLOCKS:
        return [f"no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"]
    return [
        f"{problem} [json-pointer:{pointer}]"
        for index, block in enumerate(blocks)
        for pointer, problem in _block(block, f"/blocks/{index}")
    ]


def _block(block: object, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(block, dict):
        yield at, "must be an object"
        return
    kind = block.get("type")
    if kind not in _KNOWN:
        yield f"{at}/type", f"unsupported type: {kind!r:.60}"
        return
    if len(str(block.get("block_id", ""))) > 255:
        yield f"{at}/block_id", "must be less than 256 characters"
    if kind == "section":
        yield from _section(block, at)
    elif kind == "header":
        yield from _text(block.get("text"), f"{at}/text", _TEXT_LIMITS["header"], plain=True)
    elif kind in _ELEMENTS:
        yield from _elements(block, at, _ELEMENTS[kind])


def _section(block: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    fields = block.get("fields")
    if "text" not in block and not fields:
        yield at, "missing required field: text or fields"
    if "text" in block:
        yield from _text(block["text"], f"{at}/text", _TEXT_LIMITS["section"])
    if fields is None:
        return
    if not isinstance(fields, list) or len(fields) > _FIELDS:
        yield f"{at}/fields", f"must be an array of no more than {_FIELDS} items"
        return
    for index, field in enumerate(fields):
        yield from _text(field, f"{at}/fields/{index}", _FIELD_CHARS)


def _elements(block: Mapping[str, Any], at: str, most: int) -> Iterator[tuple[str, str]]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 1 <= len(elements) <= most:
        yield f"{at}/elements", f"must be an array of 1 to {most} items"
        return
    for index, element in enumerate(elements):
        here = f"{at}/elements/{index}"
        if not isinstance(element, dict):
            yield here, "must be an object"
        elif element.get("type") == "button":
            yield from _text(element.get("text"), f"{here}/text", _BUTTON_CHARS, plain=True)


def _text(text: object, at: str, most: int, *, plain: bool = False) -> Iterator[tuple[str, str]]:
    if not isinstance(text, dict):
        yield at, "missing required field: a text object"
        return
    allowed = ("plain_text",) if plain else ("plain_text", "mrkdwn")
    if text.get("type") not in allowed:
        yield f"{at}/type", f"must be one of {', '.join(allowed)}"
    value = text.get("text")
    if not isinstance(value, str) or not value:
        yield f"{at}/text", "must be more than 0 characters"
    elif len(value) > most:
        yield f"{at}/text", f"must be less than {most + 1} characters"
