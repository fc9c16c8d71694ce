"""The HTTP API."""

from __future__ import annotations

from pydantic import Field, SecretStr

from schemas.settings.section import Port, Section

__all__ = ["ApiSettings"]


class ApiSettings(Section):
    """The HTTP API of ``tocsin api``; without a token it listens on loopback addresses only."""

    host: str = "127.0.0.1"
    port: Port = 9466
    url: str = Field(
        default="", description="where the commands find it; from host and port if empty"
    )
    token: SecretStr = SecretStr("")
    slack_signing_secret: SecretStr = Field(
        default=SecretStr(""), description="verifies clicks on Slack's buttons; without it, none"
    )
    slack_approvers: tuple[str, ...] = Field(
        default=(), description="Slack user ids that may approve and reject; everybody if none"
    )
