"""Any HTTP receiver: the whole message as JSON, signed with an HMAC over time and body.

``Tocsin-Signature`` is ``v1=`` and the hexadecimal HMAC-SHA256 of ``v1:{timestamp}:{body}`` with
the shared secret; ``Tocsin-Timestamp`` has the seconds. A receiver refuses what is older than it
likes, and takes what repeats under one ``Idempotency-Key`` once.
"""

from __future__ import annotations

import hashlib
import hmac

import httpx
from pydantic import SecretStr

from alerting.intent import NotificationIntent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.post import post
from schemas.clock import Clock, system_clock

__all__ = ["WebhookNotifier", "signature_of"]


class WebhookNotifier:
    """Posts every state of every incident to one address."""

    name = "webhook"

    def __init__(
        self,
        url: SecretStr,
        secret: SecretStr,
        *,
        timeout_s: float = 10,
        clock: Clock = system_clock,
    ) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Post one state.

        Raises:
            NotifyRetryable: 408, 425, 429, 5xx or a network fault.
            NotifyRefused: any other answer, a redirect among them.
        """
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        body = intent.to_json()
        timestamp = str(self._clock() // 1_000_000)
        headers = {
            "Tocsin-Timestamp": timestamp,
            "Tocsin-Signature": signature_of(self._secret, timestamp, body),
            "Idempotency-Key": hashlib.sha256(
                f"{intent.dedup_key}:{intent.revision}".encode()
            ).hexdigest(),
        }
        await post(
            self._client,
            self.name,
            self._url.get_secret_value(),
            body,
            headers=headers,
            secrets=[self._url, self._secret],
        )
        return {"revision": intent.revision}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def signature_of(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """Return the signature of a body at a time in seconds."""
    text = b"v1:" + timestamp.encode() + b":" + body
    return "v1=" + hmac.new(secret.get_secret_value().encode(), text, hashlib.sha256).hexdigest()
