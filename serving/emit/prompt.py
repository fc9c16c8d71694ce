"""Decide what of a prompt and its answer may leave the server: by default nothing."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from schemas.settings import EmitSettings
from serving.emit.redact import redact

__all__ = ["TextPolicy"]

MARGIN: Final = 256
"""Characters at a cut that are not trusted: a number or a key may have been cut in two there."""


@dataclass(frozen=True, slots=True)
class TextPolicy:
    """What may be kept of texts: redacted and cut ones, and a hash that tells prompts apart."""

    capture: bool = False
    chars: int = 4_096
    hashed: bool = False
    key: bytes = b""

    @classmethod
    def from_settings(cls, settings: EmitSettings) -> TextPolicy:
        """Return the policy that the operator has set."""
        return cls(
            capture=settings.capture_text,
            chars=settings.capture_chars,
            hashed=settings.prompt_hash,
            key=settings.prompt_hash_key.get_secret_value().encode(),
        )

    @property
    def wants_prompt(self) -> bool:
        """Tell whether the prompt's text has to be read at all."""
        return self.capture or self.hashed

    @property
    def room(self) -> int:
        """Return how many characters of an answer have to be gathered."""
        return self.chars + MARGIN if self.capture else 0

    def fields(self, prompt: str | None, output: str, *, truncated: bool) -> dict[str, str | None]:
        """Return the event's text fields.

        Args:
            prompt: the whole prompt, or None when the body could not be read.
            output: the answer as far as it was gathered.
            truncated: whether there was more of the answer.
        """
        return {
            "prompt_hash": self.hash(prompt) if self.hashed and prompt is not None else None,
            "prompt_redacted": None if not self.capture or prompt is None else self._cut(prompt),
            "output_redacted": self._cut(output, truncated=truncated) if self.capture else None,
        }

    def hash(self, prompt: str) -> str:
        """Return SHA-256 of the prompt, keyed (HMAC, RFC 2104) when there is a key.

        Without a key, whoever reads the events can guess short prompts and compare.
        """
        data = prompt.encode("utf-8", "surrogatepass")
        if self.key:
            return hmac.new(self.key, data, hashlib.sha256).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def _cut(self, text: str, *, truncated: bool = False) -> str:
        """Return `text` redacted and no longer than allowed; redacting comes first."""
        if len(text) > self.chars + MARGIN:
            text, truncated = text[: self.chars + MARGIN], True
        safe = redact(text)
        if truncated:
            safe = safe[:-MARGIN]
        return safe[: self.chars]
