"""Receivers of messages."""

from __future__ import annotations

from pydantic import Field, SecretStr

from schemas.settings.section import PositiveSeconds, Section

__all__ = ["NotifySettings"]


class NotifySettings(Section):
    """Receivers; a receiver without its secret is off. Secrets come from the environment."""

    slack_base_url: str = "https://slack.com/api/"
    slack_token: SecretStr = SecretStr("")
    slack_channel: str = ""
    slack_buttons: bool = Field(
        default=False, description="show buttons: clicks reach /slack/interactive of `tocsin api`"
    )
    slack_webhook_url: SecretStr = Field(
        default=SecretStr(""), description="an incoming webhook, instead of a token"
    )
    pagerduty_base_url: str = "https://events.pagerduty.com"
    pagerduty_routing_key: SecretStr = SecretStr("")
    alertmanager_url: str = Field(default="", description="such as http://alertmanager:9093")
    alertmanager_token: SecretStr = SecretStr("")
    alertmanager_resend_s: PositiveSeconds = 60
    webhook_url: SecretStr = Field(
        default=SecretStr(""), description="gets every state of every incident as JSON"
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="signs what the webhook gets"
    )
    stdout: bool = True
    timeout_s: PositiveSeconds = 10
    dashboard_url: str = ""
