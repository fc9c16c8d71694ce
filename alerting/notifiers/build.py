"""The notifiers that the settings ask for."""

from __future__ import annotations

from alerting.errors import AlertingError
from alerting.notifiers.base import Notifier
from alerting.notifiers.pagerduty import PagerDutyNotifier
from alerting.notifiers.slack import SlackNotifier
from alerting.notifiers.stdout import StdoutNotifier
from schemas.settings import NotifySettings

__all__ = ["build_notifiers"]


def build_notifiers(settings: NotifySettings) -> tuple[Notifier, ...]:
    """Return one notifier for each receiver that is configured; without its secret it is off.

    Raises:
        AlertingError: a receiver is configured by half.
    """
    notifiers: list[Notifier] = []
    if settings.stdout:
        notifiers.append(StdoutNotifier())
    if settings.slack_token.get_secret_value():
        if not settings.slack_channel:
            raise AlertingError("notify.slack_token is set; expected notify.slack_channel as well")
        notifiers.append(
            SlackNotifier(
                settings.slack_token,
                settings.slack_channel,
                base_url=settings.slack_base_url,
                timeout_s=settings.timeout_s,
                dashboard_url=settings.dashboard_url,
            )
        )
    if settings.pagerduty_routing_key.get_secret_value():
        notifiers.append(
            PagerDutyNotifier(
                settings.pagerduty_routing_key,
                base_url=settings.pagerduty_base_url,
                timeout_s=settings.timeout_s,
                dashboard_url=settings.dashboard_url,
            )
        )
    return tuple(notifiers)
