"""Slack through an incoming webhook: no app to approve, and messages that cannot be edited.

So only what somebody has to read is posted: the beginning, loud news and the end. Webhooks answer
``ok``; 429, 5xx and network faults are tried again.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from pydantic import SecretStr

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.post import post
from alerting.notifiers.slack_blocks import blocks_of, fallback_text, news_text

__all__ = ["SlackWebhookNotifier"]


class SlackWebhookNotifier:
    """Posts what is loud to the channel that the webhook's address stands for; it is a secret."""

    name = "slack-webhook"

    def __init__(self, url: SecretStr, *, timeout_s: float = 10, dashboard_url: str = "") -> None:
        self._url = url
        self._dashboard_url = dashboard_url
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Post an incident's beginning and end whole, its loud news in short, and no more.

        What waits for approval is posted whole, so that it says what exactly would be done.

        Raises:
            NotifyRetryable: 429, 5xx or a network fault.
            NotifyRefused: any other answer, such as 404 for a webhook that was removed.
        """
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        begun = receipt is not None and bool(receipt.get("begun"))
        ends = intent.event is NotifyEvent.RESOLVE
        if (ends and not begun) or (begun and not ends and not intent.loud):
            return {"revision": intent.revision, "begun": begun}
        message: dict[str, Any] = {
            "text": fallback_text(intent),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if begun and not ends and intent.approval is None:
            message["text"] = f"{fallback_text(intent)}\n{news_text(intent)}"[:4_000]
        else:
            message["blocks"] = blocks_of(intent, self._dashboard_url)
        await post(
            self._client,
            self.name,
            self._url.get_secret_value(),
            json.dumps(message, ensure_ascii=False).encode(),
            secrets=[self._url],
        )
        return {"revision": intent.revision, "begun": True}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
