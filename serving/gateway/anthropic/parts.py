"""Turn the parts of an OpenAI message into Anthropic's content blocks."""

from __future__ import annotations

from typing import Any, Final

from serving.gateway.anthropic.untranslatable import UntranslatableError

__all__ = ["text_blocks", "user_blocks"]

_IMAGES: Final = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_PDF: Final = "application/pdf"
Block = dict[str, Any]


def text_blocks(content: object, place: str) -> list[Block]:
    """Return the blocks of a content that may hold text alone; empty text makes none.

    Args:
        content: a string, a list of parts, or None.
        place: where it stands, for the error.

    Raises:
        UntranslatableError: it is anything else.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return _text(content)
    blocks: list[Block] = []
    for name, part in _parts(content, place):
        kind = part.get("type")
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind not in ("text", "refusal") or not isinstance(text, str):
            raise UntranslatableError(name, "expected a part with text")
        blocks += _marked(_text(text), part)
    return blocks


def user_blocks(content: object, place: str) -> list[Block]:
    """Return the blocks of what a user says: text, images and PDF files.

    Raises:
        UntranslatableError: a part is of another kind, or is not what it should be.
    """
    if isinstance(content, str):
        return _text(content)
    blocks: list[Block] = []
    for name, part in _parts(content, place):
        match part.get("type"):
            case "text" if isinstance(part.get("text"), str):
                found = _text(part["text"])
            case "image_url":
                found = [{"type": "image", "source": _image(part.get("image_url"), name)}]
            case "file":
                found = [_file(part.get("file"), name)]
            case _:
                raise UntranslatableError(name, "expected a part of type text, image_url or file")
        blocks += _marked(found, part)
    return blocks


def _parts(content: object, place: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(content, list):
        raise UntranslatableError(place, "expected a string or a list of parts")
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise UntranslatableError(f"{place}[{number}]", "expected an object")
    return [(f"{place}[{number}]", part) for number, part in enumerate(content)]


def _text(text: str) -> list[Block]:
    return [{"type": "text", "text": text}] if text else []


def _marked(blocks: list[Block], part: dict[str, Any]) -> list[Block]:
    """Keep the mark up to which Anthropic is to cache, which clients send beside OpenAI's keys."""
    if blocks and isinstance(mark := part.get("cache_control"), dict):
        blocks[-1]["cache_control"] = mark
    return blocks


def _image(image: object, place: str) -> Block:
    url = image.get("url") if isinstance(image, dict) else None
    place += ".image_url.url"
    if not isinstance(url, str):
        raise UntranslatableError(place, "expected a string")
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    kind, data = _data_url(url, place)
    if kind not in _IMAGES:
        raise UntranslatableError(place, "expected an image in JPEG, PNG, GIF or WebP")
    return {"type": "base64", "media_type": _IMAGES[kind], "data": data}


def _file(file: object, place: str) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    place += ".file.file_data"
    if not isinstance(file, dict) or not isinstance(data, str):
        raise UntranslatableError(place, "expected a PDF as a data URL")
    kind, content = _data_url(data, place)
    if kind != _PDF:
        raise UntranslatableError(place, "expected a PDF as a data URL")
    source = {"type": "base64", "media_type": _PDF, "data": content}
    block: Block = {"type": "document", "source": source}
    if isinstance(name := file.get("filename"), str) and name:
        block["title"] = name
    return block


def _data_url(url: str, place: str) -> tuple[str, str]:
    """Return media type and data of a data URL in base64 (RFC 2397)."""
    head, comma, data = url.partition(",")
    kind, _, rest = head.removeprefix("data:").partition(";")
    if not url.startswith("data:") or not comma or rest.rpartition(";")[2] != "base64" or not data:
        raise UntranslatableError(place, "expected an http(s) URL or a data URL in base64")
    return kind.lower(), data
