"""Slack: one message for each incident, kept up to date, with its story in the thread.

``chat.postMessage`` once, ``chat.update`` from then on (updating notifies nobody), and a reply in
the thread for every piece of news; loud news is shown in the channel as well. Metadata carry the
dedup key, and buttons, if they are wanted, what clicks on them ask for.
"""

from __future__ import annotations

from typing import Any, Final

import aiohttp
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.retry_after import parse_retry_after
from alerting.notifiers.slack_blocks import blocks_of, fallback_text, news_text
from alerting.notifiers.text import clip, masked

__all__ = ["SlackNotifier"]

_PASSING: Final = frozenset(
    {
        "fatal_error",
        "internal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


class SlackNotifier:
    """Posts and updates one message for each incident."""

    name = "slack"

    def __init__(
        self,
        token: SecretStr,
        channel: str,
        *,
        base_url: str = "https://slack.com/api/",
        timeout_s: float = 10,
        dashboard_url: str = "",
        buttons: bool = False,
    ) -> None:
        self._token = token
        self._channel = channel
        self._dashboard_url = dashboard_url
        self._buttons = buttons
        self._client = AsyncWebClient(
            token=token.get_secret_value(),
            base_url=base_url,
            timeout=max(1, round(timeout_s)),
            retry_handlers=[],  # when to try again is decided in one place, alerting.delivery
        )

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Post the incident's message, or update it and tell its thread the news.

        Raises:
            NotifyRetryable: rate limit, a fault of Slack's, or of the network.
            NotifyRefused: wrong token, no such channel, or a message Slack does not take.
        """
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        content = {
            "text": fallback_text(intent),
            "blocks": blocks_of(intent, self._dashboard_url, buttons=self._buttons),
            "metadata": {
                "event_type": "tocsin_incident",
                "event_payload": {"dedup_key": intent.dedup_key, "revision": intent.revision},
            },
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if receipt is None or "ts" not in receipt:
            return await self._post(content, intent)
        place = {"channel": receipt["channel"], "ts": receipt["ts"]}
        try:
            await self._call("chat.update", {**place, **content})
        except _GoneError:
            return await self._post(content, intent)
        if intent.news:
            await self._call(
                "chat.postMessage",
                {
                    "channel": place["channel"],
                    "thread_ts": place["ts"],
                    "reply_broadcast": intent.loud,
                    "text": news_text(intent),
                },
            )
        return {**place, "revision": intent.revision}

    async def aclose(self) -> None:
        """Do nothing: each call has a connection of its own."""

    async def _post(self, content: dict[str, Any], intent: NotificationIntent) -> Receipt:
        data = await self._call("chat.postMessage", {"channel": self._channel, **content})
        return {"channel": data["channel"], "ts": data["ts"], "revision": intent.revision}

    async def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = await self._client.api_call(method, json=body)
        except SlackApiError as error:
            raise self._explain(method, error) from None
        except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError) as error:
            said = masked(f"{type(error).__name__}: {error}", [self._token])
            raise NotifyRetryable(f"slack: {method}: {clip(said, 300)}") from None
        data = response.data
        if not isinstance(data, dict):
            raise NotifyRetryable(f"slack: {method}: the answer is no JSON object")
        return data

    def _explain(self, method: str, error: SlackApiError) -> Exception:
        response = error.response
        data = getattr(response, "data", None)
        code = str(data.get("error", "")) if isinstance(data, dict) else ""
        # slack_sdk hands over aiohttp's own response where it could not read the body.
        status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
        said = clip(masked(f"slack: {method}: {status} {code or error}", [self._token]), 300)
        if code in _GONE:
            return _GoneError(said)
        if status == 429 or status >= 500 or code in _PASSING:
            headers = getattr(response, "headers", {})
            return NotifyRetryable(said, parse_retry_after(headers.get("Retry-After")))
        if status == 200 and not code:  # a proxy's page instead of Slack's answer
            return NotifyRetryable(said)
        return NotifyRefused(said)


class _GoneError(NotifyRefused):
    """The message is no more, or may not be edited any more."""
