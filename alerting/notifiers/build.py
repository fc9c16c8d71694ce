"""The notifiers that the settings ask for."""

from __future__ import annotations

from alerting.errors import AlertingError
from alerting.notifiers.alertmanager import AlertmanagerNotifier
from alerting.notifiers.base import Notifier
from alerting.notifiers.pagerduty import PagerDutyNotifier
from alerting.notifiers.slack import SlackNotifier
from alerting.notifiers.slack_webhook import SlackWebhookNotifier
from alerting.notifiers.stdout import StdoutNotifier
from alerting.notifiers.webhook import WebhookNotifier
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
                buttons=settings.slack_buttons,
            )
        )
    if settings.slack_webhook_url.get_secret_value():
        notifiers.append(
            SlackWebhookNotifier(
                settings.slack_webhook_url,
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
    if settings.alertmanager_url:
        notifiers.append(
            AlertmanagerNotifier(
                settings.alertmanager_url,
                token=settings.alertmanager_token,
                resend_s=settings.alertmanager_resend_s,
                timeout_s=settings.timeout_s,
                dashboard_url=settings.dashboard_url,
            )
        )
    if settings.webhook_url.get_secret_value():
        if not settings.webhook_secret.get_secret_value():
            raise AlertingError("notify.webhook_url is set; expected notify.webhook_secret as well")
        notifiers.append(
            WebhookNotifier(
                settings.webhook_url, settings.webhook_secret, timeout_s=settings.timeout_s
            )
        )
    return tuple(notifiers)
