"""Turn an OpenAI chat request into one for Anthropic's Messages API. Pure.

https://platform.claude.com/docs/en/api/messages has the one side,
https://platform.openai.com/docs/api-reference/chat/create the other. A parameter that has no
counterpart is refused by name rather than dropped: the answer would not be what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.gateway.anthropic.turns import to_turns
from serving.gateway.anthropic.untranslatable import UntranslatableError

__all__ = ["to_request"]

_READ_ELSEWHERE: Final = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("tools", "tool_choice", "parallel_tool_calls", "user", "safety_identifier"),
        "metadata",  # of feature and plan; read by Tocsin, and nothing that a model sees
        *("prompt_cache_key", "prompt_cache_retention"),  # hints that change no answer
    )
)

_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "functions": ([],),
}
"""Parameters that can only be what they would be without them."""


def to_request(data: Mapping[str, Any], *, max_tokens: int) -> dict[str, Any]:
    """Return the body of `POST /v1/messages`, the model's name aside.

    Args:
        data: the body of `POST /v1/chat/completions`.
        max_tokens: the limit for a request without one, which Anthropic's API wants to have.

    Raises:
        UntranslatableError: naming the parameter that cannot be translated.
    """
    system, turns = to_turns(data.get("messages"))
    found: dict[str, Any] = {"max_tokens": _limit(data) or max_tokens, "messages": turns}
    if system:
        found["system"] = system
    if data.get("stream") is True:
        found["stream"] = True
    for name, value in data.items():
        if value is None or name in _READ_ELSEWHERE:
            continue
        if name in _NEUTRAL:
            if value not in _NEUTRAL[name]:
                raise UntranslatableError(name, "has no counterpart")
        elif (convert := _CONVERTED.get(name)) is not None:
            found |= convert(name, value)
        else:
            known = name.isidentifier() and len(name) <= 64
            raise UntranslatableError(name if known else "a parameter", "has no counterpart")
    found |= _tools(data)
    user = data.get("safety_identifier") or data.get("user")
    if user is not None:
        if not isinstance(user, str):
            raise UntranslatableError("user", "expected a string")
        found["metadata"] = {"user_id": user}
    return found


def _limit(data: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = data.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise UntranslatableError(name, "expected a whole number of at least 1")
        if value is not None:
            return int(value)
    return None


def _share(name: str, value: object) -> dict[str, Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:  # type: ignore[arg-type,operator]
        raise UntranslatableError(name, "expected a number from 0 to 1")
    return {name: value}


def _top_k(name: str, value: object) -> dict[str, Any]:
    if type(value) is not int or value < 0:
        raise UntranslatableError(name, "expected a whole number")
    return {name: value}


def _stop(name: str, value: object) -> dict[str, Any]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise UntranslatableError(name, "expected a string or a list of strings")
    return {"stop_sequences": stops} if stops else {}


def _format(name: str, value: object) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return {}
    given = value.get("json_schema") if isinstance(value, dict) else None
    schema = given.get("schema") if isinstance(given, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise UntranslatableError(
            f"{name}.type", "expected text, or json_schema with a schema: there is no other format"
        )
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _tier(name: str, value: object) -> dict[str, Any]:
    tiers = {"auto": "auto", "default": "standard_only"}
    if not isinstance(value, str) or value not in tiers:
        raise UntranslatableError(name, "expected auto or default")
    return {name: tiers[value]}


_CONVERTED: Final[Mapping[str, Callable[[str, object], dict[str, Any]]]] = {
    "temperature": _share,
    "top_p": _share,
    "top_k": _top_k,
    "stop": _stop,
    "response_format": _format,
    "service_tier": _tier,
}


def _tools(data: Mapping[str, Any]) -> dict[str, Any]:
    tools, parallel = data.get("tools"), data.get("parallel_tool_calls")
    if tools is not None and not isinstance(tools, list):
        raise UntranslatableError("tools", "expected a list")
    if parallel is not None and not isinstance(parallel, bool):
        raise UntranslatableError("parallel_tool_calls", "expected true or false")
    choice = _choice(data.get("tool_choice"))
    if not tools:
        if choice is not None and choice["type"] not in ("auto", "none"):
            raise UntranslatableError("tool_choice", "asks for a tool, and there are none")
        return {}
    if parallel is False and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    found: dict[str, Any] = {"tools": [_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools)]}
    if choice is not None:
        found["tool_choice"] = choice
    return found


def _tool(tool: object, place: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise UntranslatableError(f"{place}.type", "expected a function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UntranslatableError(f"{place}.function.name", "expected a name")
    schema = function.get("parameters")
    if schema is None:
        schema = {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        raise UntranslatableError(f"{place}.function.parameters", "expected a JSON schema")
    found: dict[str, Any] = {
        "name": function["name"],
        "input_schema": {"type": "object"} | schema,
    }
    if isinstance(text := function.get("description"), str) and text:
        found["description"] = text
    if function.get("strict") is True:
        found["strict"] = True
    if isinstance(mark := tool.get("cache_control"), dict):
        found["cache_control"] = mark
    return found


def _choice(choice: object) -> dict[str, Any] | None:
    kinds = {"auto": "auto", "none": "none", "required": "any"}
    if choice is None:
        return None
    if isinstance(choice, str) and choice in kinds:
        return {"type": kinds[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        if isinstance(function, dict) and isinstance(name := function.get("name"), str):
            return {"type": "tool", "name": name}
    raise UntranslatableError("tool_choice", "expected none, auto, required, or a function by name")
