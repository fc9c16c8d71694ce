"""All settings in one tree: ``TOCSIN_*`` variables over a YAML file over defaults.

A nested key is written with two underscores: ``TOCSIN_KAFKA__BOOTSTRAP=127.0.0.1:9092``. The YAML
file is named by ``TOCSIN_CONFIG``. A file for each section, and one that reads them all.
"""

from schemas.settings.actuators import (
    ActuatorSettings,
    AdapterSettings,
    FlagSettings,
    KubernetesSettings,
    LiteLLMSettings,
    ScaleWebhookSettings,
)
from schemas.settings.alerting import AlertingSettings, GroupingSettings
from schemas.settings.api import ApiSettings
from schemas.settings.clickhouse import ClickHouseSettings
from schemas.settings.emit import EmitSettings
from schemas.settings.gateway import GatewaySettings
from schemas.settings.judge import JudgeSettings
from schemas.settings.kafka import KafkaSettings
from schemas.settings.load import load_settings
from schemas.settings.notify import NotifySettings
from schemas.settings.otlp import OtlpAttributes, OtlpSettings
from schemas.settings.streams import DriftSettings, PriceSettings, StreamSettings
from schemas.settings.tree import Settings

__all__ = [
    "ActuatorSettings",
    "AdapterSettings",
    "AlertingSettings",
    "ApiSettings",
    "ClickHouseSettings",
    "DriftSettings",
    "EmitSettings",
    "FlagSettings",
    "GatewaySettings",
    "GroupingSettings",
    "JudgeSettings",
    "KafkaSettings",
    "KubernetesSettings",
    "LiteLLMSettings",
    "NotifySettings",
    "OtlpAttributes",
    "OtlpSettings",
    "PriceSettings",
    "ScaleWebhookSettings",
    "Settings",
    "StreamSettings",
    "load_settings",
]
