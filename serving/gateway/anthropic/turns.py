"""Turn OpenAI's messages into Anthropic's system prompt and turns."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

import orjson

from serving.gateway.anthropic.parts import text_blocks, user_blocks
from serving.gateway.anthropic.untranslatable import UntranslatableError

__all__ = ["to_turns"]

_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,256}")
Block = dict[str, Any]


def to_turns(messages: object) -> tuple[list[Block], list[dict[str, Any]]]:
    """Return the blocks of the system prompt, and the turns of user and assistant.

    System and developer messages go to the front from wherever they stand, as Anthropic's own
    layer for OpenAI's clients has it. Results of tools are said by the user there. Messages of one
    role in a row become one turn, because all results of a turn must stand in the next one.

    Raises:
        UntranslatableError: naming the message and what is wrong with it.
    """
    if not isinstance(messages, list) or not messages:
        raise UntranslatableError("messages", "expected a list of messages")
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(message, dict):
            raise UntranslatableError(place, "expected an object")
        if message.get("name") is not None:
            raise UntranslatableError(f"{place}.name", "has no counterpart")
        content = message.get("content")
        match message.get("role"):
            case "system" | "developer":
                system += text_blocks(content, f"{place}.content")
            case "user":
                _say(turns, "user", user_blocks(content, f"{place}.content"))
            case "assistant":
                _say(turns, "assistant", _assistant(message, place))
            case "tool":
                _say(turns, "user", [_result(message, place)])
            case _:
                raise UntranslatableError(
                    f"{place}.role", "expected system, developer, user, assistant or tool"
                )
    if not turns:
        raise UntranslatableError("messages", "expected a message of the user")
    return system, turns


def _say(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _assistant(message: dict[str, Any], place: str) -> list[Block]:
    for key in ("function_call", "audio"):
        if message.get(key) is not None:
            raise UntranslatableError(f"{place}.{key}", "has no counterpart")
    blocks = text_blocks(message.get("content"), f"{place}.content")
    if isinstance(refusal := message.get("refusal"), str):
        blocks += text_blocks(refusal, f"{place}.refusal")
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise UntranslatableError(f"{place}.tool_calls", "expected a list")
    for number, call in enumerate(calls or ()):
        blocks.append(_call(call, f"{place}.tool_calls[{number}]"))
    return blocks


def _call(call: object, place: str) -> Block:
    if not isinstance(call, dict):
        raise UntranslatableError(place, "expected an object")
    function = call.get("function")
    if call.get("type", "function") != "function" or not isinstance(function, dict):
        raise UntranslatableError(f"{place}.type", "expected the call of a function")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not name:
        raise UntranslatableError(f"{place}.function.name", "expected a name")
    try:
        given = orjson.loads(arguments or "{}")
    except (orjson.JSONDecodeError, TypeError):
        given = None
    if not isinstance(given, dict):
        raise UntranslatableError(f"{place}.function.arguments", "expected a JSON object")
    made = _tool_id(call.get("id"), f"{place}.id")
    return {"type": "tool_use", "id": made, "name": name, "input": given}


def _result(message: dict[str, Any], place: str) -> Block:
    made = _tool_id(message.get("tool_call_id"), f"{place}.tool_call_id")
    block: Block = {"type": "tool_result", "tool_use_id": made}
    if content := text_blocks(message.get("content"), f"{place}.content"):
        block["content"] = content
    return block


def _tool_id(given: object, place: str) -> str:
    """Return an id that Anthropic takes; others' ids may have signs that it does not allow."""
    if not isinstance(given, str) or not given:
        raise UntranslatableError(place, "expected the id of a call")
    if _ID.fullmatch(given):
        return given
    digest = blake2b(given.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"toolu_{digest}"
