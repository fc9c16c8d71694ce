"""How an upstream wants to be asked, and how its answers become those of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from serving.gateway.asked import Asked
from serving.gateway.replies import Reply

__all__ = ["Dialect", "GarbageError", "OpenAIDialect", "Translator", "Wording"]


class GarbageError(Exception):
    """An upstream sent what its protocol does not have."""


class Translator(Protocol):
    """Turns the answer to one attempt into OpenAI's, whole or as it comes."""

    ended: bool
    """Whether the stream has said that it is over, or that it failed."""
    failure: tuple[int, bytes] | None
    """Status and body of the error with which a stream has ended."""

    def whole(self, body: bytes) -> bytes | None:
        """Return an answer in one piece, or None when it is none."""

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes | None]:
        """Return status and body of an error; no body when the upstream had no words for it."""

    def feed(self, chunk: bytes) -> bytes:
        """Return whole events for what a chunk of the stream says, if that is anything yet.

        Raises:
            GarbageError: it is nothing that this upstream's protocol has.
        """


@dataclass(frozen=True, slots=True)
class Wording:
    """A request as one upstream understands it."""

    path: str
    body: bytes
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Put over all others; None takes one away."""
    translator: Translator | None = None


class Dialect(Protocol):
    """The API that an upstream speaks."""

    tells_usage: bool
    """Whether its streams tell their usage without being asked."""

    def credentials(self, key: SecretStr | None) -> list[tuple[str, str]]:
        """Return the headers that hold the key, and what else each request needs."""

    def misfit(self, path: str, asked: Asked) -> Reply | None:
        """Return the error for a request that cannot be asked there, or None when it can."""

    def word(self, path: str, asked: Asked, model: str, *, ask_usage: bool) -> Wording:
        """Return a request that fits.

        Args:
            path: of the client's request.
            asked: the request.
            model: the model's name there.
            ask_usage: have a stream tell its usage.
        """


class OpenAIDialect:
    """OpenAI's own API: requests go on as they came, the model's name aside."""

    tells_usage = False

    def credentials(self, key: SecretStr | None) -> list[tuple[str, str]]:
        """Return the key as a bearer's."""
        return [("Authorization", f"Bearer {key.get_secret_value()}")] if key else []

    def misfit(self, path: str, asked: Asked) -> Reply | None:  # noqa: ARG002
        """Return None: what an upstream makes of a request is its own affair."""
        return None

    def word(self, path: str, asked: Asked, model: str, *, ask_usage: bool) -> Wording:
        """Return the request with the model's name."""
        return Wording(path, asked.body_for(model, ask_usage=ask_usage))
