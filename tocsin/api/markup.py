"""HTML and SVG as trees: whatever is put into one is text, never markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["Child", "Node", "el", "render"]

Node = ET.Element
Child = Node | str | int | None | Iterable["Child"]

_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def el(tag: str, /, *children: Child, **attributes: str | float | bool | None) -> Node:
    """Return an element.

    Args:
        tag: its name.
        children: elements, texts, None for nothing, and sequences of these.
        attributes: an underscore stands for a hyphen, one at the end for nothing (``class_``);
            None and False leave the attribute out.

    >>> render(el("p", "a < b", el("b", "&"), class_="x", hidden=True, title='"'))
    '<p class="x" hidden="" title="&quot;">a &lt; b<b>&amp;</b></p>'
    """
    node = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else str(value)
            node.set(name.rstrip("_").replace("_", "-"), _printable(text))
    last: Node | None = None
    for child in _flat(children):
        if isinstance(child, Node):
            node.append(child)
            last = child
        elif last is None:
            node.text = (node.text or "") + _printable(child)
        else:
            last.tail = (last.tail or "") + _printable(child)
    return node


def render(node: Node) -> str:
    """Return the markup of an element."""
    return ET.tostring(node, encoding="unicode", method="html")


def _flat(children: Iterable[Child]) -> Iterator[Node | str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Node | str):
            yield child
        elif isinstance(child, int):
            yield str(child)
        else:
            yield from _flat(child)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)
