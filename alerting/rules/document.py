"""YAML to a model, with every fault told by file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from alerting.errors import RulesError
from alerting.rules.fault import RuleFault

__all__ = ["parse_document"]

_Model = TypeVar("_Model", bound=BaseModel)


def parse_document(text: str, source: str, model: type[_Model], items: str, item: str) -> _Model:
    """Read a model from YAML text; ``source`` names it in errors.

    Args:
        text: the YAML.
        source: what to call it.
        model: what to read it as.
        items: the key of the list whose entries have names, such as ``rules``.
        item: what one of them is called, such as ``rule``.

    Raises:
        RulesError: the text is no YAML or does not fit the model; one line a fault.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        raise RulesError(f"{where}: not YAML: {getattr(error, 'problem', error)}") from None
    except ValueError as error:  # such as the date 2026-02-31
        raise RulesError(f"{source}: not YAML: {error}") from None
    if tree is None or not isinstance(data, dict):
        raise RulesError(f"{source}: expected a mapping with 'version' and '{items}'")
    if twice := _twice(tree):
        raise RulesError("\n".join(f"{source}:{line}: {key}: written twice" for key, line in twice))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        told = [_tell(source, tree, data, fault, items, item) for fault in faults]
        raise RulesError("\n".join(told)) from None


def _tell(source: str, tree: yaml.Node, data: Any, fault: Any, items: str, item: str) -> str:
    loc: tuple[int | str, ...] = fault["loc"]
    error = fault.get("ctx", {}).get("error")
    if isinstance(error, RuleFault):
        loc = (*loc, *error.path)
    rule = ""
    if len(loc) > 1 and loc[0] == items and isinstance(loc[1], int):
        entry = data[items][loc[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        rule = f" {item} {str(name)!r}:" if name else f" {item} number {loc[1] + 1}:"
        key = _path(loc[2:])
    else:
        key = _path(loc)
    message = fault["msg"].removeprefix("Value error, ")
    return f"{source}:{_line(tree, loc)}:{rule} {f'{key}: ' if key else ''}{message}"


def _path(loc: Sequence[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _line(node: yaml.Node, loc: Sequence[int | str]) -> int:
    line: int = node.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    node, line = value, key.start_mark.line
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _twice(node: yaml.Node, above: tuple[int, ...] = ()) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    if id(node) in above:  # an alias to a node that holds it
        return found
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((str(key.value), key.start_mark.line + 1))
            seen.add(str(key.value))
            found += _twice(value, above)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            found += _twice(value, above)
    return found
