"""What actions reach: flags, replicas, adapters, a LiteLLM proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from schemas.settings.section import Count, Port, PositiveSeconds, Seconds, Section

__all__ = [
    "ActuatorSettings",
    "AdapterSettings",
    "FlagSettings",
    "KubernetesSettings",
    "LiteLLMSettings",
    "ScaleWebhookSettings",
]


class FlagSettings(Section):
    """The flag file, in flagd's format, that serving obeys."""

    path: Path = Path(".tocsin/flags.json")


class _ScaleSettings(Section):
    serves: dict[str, str] = Field(
        default_factory=dict,
        description="labels of what the replicas serve; only alerts about it scale them",
    )
    scale_factor: Annotated[float, Field(gt=1, le=10)] = 1.5
    max_replicas: Count = 8
    settle_s: Seconds = Field(
        default=300, description="how long new replicas are given before more are added"
    )
    timeout_s: PositiveSeconds = 10


class KubernetesSettings(_ScaleSettings):
    """A Deployment that may be scaled and rolled back; off without `api_url`."""

    api_url: str = ""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] = "default"
    deployment: Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$")] = ""
    token: SecretStr = SecretStr("")
    token_file: Path | None = Field(
        default=None, description="instead of a token: a service account's, which is renewed"
    )
    ca_file: Path | None = None


class ScaleWebhookSettings(_ScaleSettings):
    """A webhook that scales, instead of Kubernetes; off without `url`."""

    url: str = ""
    secret: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.url and not self.secret.get_secret_value():
            raise ValueError("a webhook needs a secret to sign with")
        return self


class AdapterSettings(Section):
    """A vLLM server whose LoRA adapters may be unloaded; off without `base_url`."""

    base_url: str = Field(default="", description="without /v1")
    api_key: SecretStr = SecretStr("")
    timeout_s: PositiveSeconds = 10


class LiteLLMSettings(Section):
    """A LiteLLM proxy: fallbacks of a model and the limit of a key; off without `base_url`."""

    base_url: str = ""
    master_key: SecretStr = SecretStr("")
    provider: str = ""
    model: str = ""
    fallback_models: tuple[str, ...] = ()
    key_hash: str = Field(default="", description="of the key to limit, as the proxy shows it")
    rpm_limit: Count = 60
    timeout_s: PositiveSeconds = 10


class ActuatorSettings(Section):
    """What the executor may still act on, and which systems beside the flags it may change."""

    promotion_age_s: PositiveSeconds = Field(
        default=3 * 86_400, description="an older promotion is not blamed: rollback refuses"
    )
    request_age_s: PositiveSeconds = Field(
        default=900, description="an action asked for longer ago is refused: the picture is stale"
    )
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9465
    kubernetes: KubernetesSettings = KubernetesSettings()
    webhook: ScaleWebhookSettings = ScaleWebhookSettings()
    adapters: AdapterSettings = AdapterSettings()
    litellm: LiteLLMSettings = LiteLLMSettings()
