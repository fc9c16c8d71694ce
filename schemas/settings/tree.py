"""All settings in one tree, with their defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from schemas.settings.actuators import ActuatorSettings, FlagSettings
from schemas.settings.alerting import AlertingSettings, GroupingSettings
from schemas.settings.api import ApiSettings
from schemas.settings.clickhouse import ClickHouseSettings
from schemas.settings.emit import EmitSettings
from schemas.settings.gateway import GatewaySettings
from schemas.settings.judge import JudgeSettings
from schemas.settings.kafka import KafkaSettings
from schemas.settings.notify import NotifySettings
from schemas.settings.otlp import OtlpSettings
from schemas.settings.streams import DriftSettings, PriceSettings, StreamSettings

__all__ = ["Settings"]


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="TOCSIN_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    config: Path | None = None
    secrets_dir: Path | None = Field(
        default=None,
        description="a directory of files named after variables, such as TOCSIN_API__TOKEN, each "
        "with its value",
    )
    data_dir: Path = Path(".tocsin")
    log_format: Annotated[str, Field(pattern="^(console|json)$")] = "console"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    emit: EmitSettings = EmitSettings()
    streams: StreamSettings = StreamSettings()
    judge: JudgeSettings = JudgeSettings()
    drift: DriftSettings = DriftSettings()
    alerting: AlertingSettings = AlertingSettings()
    grouping: GroupingSettings = GroupingSettings()
    api: ApiSettings = ApiSettings()
    notify: NotifySettings = NotifySettings()
    flags: FlagSettings = FlagSettings()
    actuators: ActuatorSettings = ActuatorSettings()
    gateway: GatewaySettings = GatewaySettings()
    otlp: OtlpSettings = OtlpSettings()
    prices: PriceSettings = PriceSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, secret files, the YAML file."""
        sources = [init_settings, env_settings]
        if folder := os.environ.get("TOCSIN_SECRETS_DIR"):
            sources.append(
                NestedSecretsSettingsSource(
                    file_secret_settings,
                    secrets_dir=folder,
                    secrets_dir_missing="error",
                    secrets_prefix="TOCSIN_",
                    secrets_nested_delimiter="__",
                )
            )
        if path := os.environ.get("TOCSIN_CONFIG"):
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=path))
        return tuple(sources)
