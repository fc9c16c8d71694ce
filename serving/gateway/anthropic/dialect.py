"""How an upstream that speaks Anthropic's API is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson
from pydantic import SecretStr

from schemas.event import Operation
from serving.gateway.anthropic.request import to_request
from serving.gateway.anthropic.translator import AnthropicTranslator
from serving.gateway.anthropic.untranslatable import UntranslatableError
from serving.gateway.asked import Asked
from serving.gateway.dialect import Wording
from serving.gateway.replies import Reply, error_reply

__all__ = ["VERSION", "AnthropicDialect"]

VERSION: Final = "2023-06-01"
_PATH: Final = "/v1/messages"


class AnthropicDialect:
    """Chat is translated, Messages pass as they are, and nothing else can be asked.

    Args:
        max_tokens: the limit for requests that have none.
        wall_ns: UTC nanoseconds.
    """

    tells_usage = True

    def __init__(self, *, max_tokens: int, wall_ns: Callable[[], int]) -> None:
        self._max_tokens = max_tokens
        self._wall_ns = wall_ns

    def credentials(self, key: SecretStr | None) -> list[tuple[str, str]]:
        """Return the key and the version of the API; a client of Messages may name another one."""
        found = [("anthropic-version", VERSION)]
        return [*found, ("x-api-key", key.get_secret_value())] if key else found

    def misfit(self, path: str, asked: Asked) -> Reply | None:
        """Return the error that names what cannot be translated, or None."""
        if asked.operation is Operation.MESSAGES:
            return None
        if asked.operation is not Operation.CHAT:
            text = f"The upstream of this model speaks Anthropic's API, which has no {path}."
            return error_reply(400, "invalid_request_error", text, param="model")
        try:
            to_request(asked.data, max_tokens=self._max_tokens)
        except UntranslatableError as error:
            text = f"{error}. The upstream of this model speaks Anthropic's API."
            return error_reply(400, "invalid_request_error", text, param=error.param)
        return None

    def word(self, path: str, asked: Asked, model: str, *, ask_usage: bool) -> Wording:  # noqa: ARG002
        """Return a request that fits.

        Raises:
            UntranslatableError: it does not.
        """
        if asked.operation is Operation.MESSAGES:
            return Wording(path, asked.body_for(model, ask_usage=False))
        content = {"model": model} | to_request(asked.data, max_tokens=self._max_tokens)
        return Wording(
            _PATH,
            orjson.dumps(content),
            {"anthropic-version": VERSION, "anthropic-beta": None},
            AnthropicTranslator(self._wall_ns),
        )
