"""All settings in one tree: ``TOCSIN_*`` variables over a YAML file over defaults.

A nested key is written with two underscores: ``TOCSIN_KAFKA__BOOTSTRAP=127.0.0.1:9092``. The YAML
file is named by ``TOCSIN_CONFIG``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from schemas.action import ActionKind, ActionMode
from schemas.base import Name
from schemas.errors import SettingsError

__all__ = [
    "ActuatorSettings",
    "AdapterSettings",
    "AlertingSettings",
    "ApiSettings",
    "ClickHouseSettings",
    "DriftSettings",
    "EmitSettings",
    "GatewaySettings",
    "GroupingSettings",
    "JudgeSettings",
    "KafkaSettings",
    "KubernetesSettings",
    "LiteLLMSettings",
    "NotifySettings",
    "OtlpSettings",
    "ScaleWebhookSettings",
    "Settings",
    "StreamSettings",
    "load_settings",
]

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KafkaSettings(_Section):
    """How to reach the broker; the session timeout is short only against the embedded one."""

    bootstrap: str = "127.0.0.1:9092"
    client_id: str = "tocsin"
    partitions: Count | None = Field(
        default=None, description="partitions of new topics instead of the table's"
    )
    replication_factor: Count = 1
    session_timeout_s: PositiveSeconds = 10
    heartbeat_interval_s: PositiveSeconds = 3
    fetch_wait_s: PositiveSeconds = Field(
        default=0.5, description="how long the broker may hold a fetch that has no data"
    )
    log_id: str = Field(
        default="kafka",
        description="names this broker's log in ClickHouse rows; new when offsets start again",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = Field(
        default=None, description="authorities in PEM, instead of the system's"
    )
    cert_file: Path | None = Field(
        default=None, description="the client's certificate in PEM, where the broker asks for one"
    )
    key_file: Path | None = None
    key_password: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _safe(self) -> Self:
        sasl = self.security_protocol.startswith("SASL")
        named = bool(self.username) and bool(self.password.get_secret_value())
        if sasl and not named:
            raise ValueError(f"{self.security_protocol} needs username and password")
        if not sasl and (self.username or self.password.get_secret_value()):
            raise ValueError(
                f"username and password are not used with {self.security_protocol}; "
                "security_protocol: SASL_SSL sends them"
            )
        if self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN":
            raise ValueError("PLAIN over SASL_PLAINTEXT would show the password to the network")
        return self


class ClickHouseSettings(_Section):
    """How to reach the store, always over ClickHouse's HTTP protocol."""

    host: str = "127.0.0.1"
    port: Port = 8123
    username: str = "default"
    password: SecretStr = SecretStr("")
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "tocsin"
    secure: bool = False
    insert_timeout_s: PositiveSeconds = 30


class EmitSettings(_Section):
    """The emitter in a model server: what it may hold and how long it gathers."""

    linger_s: Seconds = 0.05
    batch_events: Count = 500
    batch_bytes: Count = 512 * 1024
    queue_events: Count = 50_000
    queue_bytes: Count = 64 * 1024 * 1024
    flush_timeout_s: Seconds = 5
    join_wait_s: Seconds = 0.25
    server: str = Field(
        default="", max_length=256, description="names this server; its host name when empty"
    )
    provider: Name = "vllm"
    model_version: str = Field(
        default="", max_length=256, description="the served model's name when empty"
    )
    capture_text: bool = False
    capture_chars: Annotated[int, Field(ge=0, le=32_768)] = 4_096
    prompt_hash: bool = False
    prompt_hash_key: SecretStr = SecretStr("")
    gpu: bool = Field(
        default=True, description="read the use of the engine's GPUs from NVML, where it is there"
    )
    gateway_token: SecretStr = Field(
        default=SecretStr(""),
        description="shared by a gateway and its servers: they join their views of a request",
    )


class StreamSettings(_Section):
    """The streaming core: batches, windows, limits of time."""

    app_id: str = "tocsin"
    batch_bytes: Count = Field(
        default=8 * 1024 * 1024, description="records that one micro-batch takes together"
    )
    batch_within_s: PositiveSeconds = Field(
        default=0.1, description="the least time between two inserts of requests"
    )
    window_s: PositiveSeconds = 10
    flush_s: PositiveSeconds = Field(default=0.5, description="how often partials are sent on")
    lateness_s: Seconds = Field(default=2, description="how long a window waits for late events")
    correction_s: Seconds = Field(
        default=60,
        description="how long after its end a closed window is corrected; later events are counted",
    )
    idle_s: PositiveSeconds = Field(
        default=5,
        description="a partition read to its end and silent for so long holds the watermark back "
        "no more",
    )
    future_s: Seconds = Field(default=60, description="clock skew granted to event times")
    max_record_bytes: Count = 4 * 1024 * 1024
    dimensions: tuple[str, ...] = ("provider", "model", "model_version", "route", "feature")
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9464
    time_scale: PositiveSeconds = Field(
        default=1,
        description="divides every duration of rules and windows: a rehearsal in fast motion",
    )

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds of event time."""
        return round(self.window_s / self.time_scale * 1e6)

    @property
    def lateness_us(self) -> int:
        """Allowed lateness in microseconds of event time."""
        return round(self.lateness_s / self.time_scale * 1e6)

    @property
    def correction_us(self) -> int:
        """How long a closed window can be corrected, in microseconds of event time."""
        return round(self.correction_s / self.time_scale * 1e6)

    @property
    def idle_us(self) -> int:
        """Silence after which a partition is idle, in microseconds of the wall clock."""
        return round(self.idle_s / self.time_scale * 1e6)


class JudgeSettings(_Section):
    """Judge-sampled quality: any OpenAI-compatible endpoint; none configured is none asked."""

    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    model: str = "judge"
    sample_rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    timeout_s: PositiveSeconds = 20
    concurrency: Count = 4
    queue: Count = Field(default=1_000, description="sampled requests that may wait for the judge")
    rubric: str = ""


class DriftSettings(_Section):
    """Drift of prompt and output lengths against a frozen reference."""

    reference_requests: Count = 1_000
    current_requests: Count = 300
    psi_bins: Annotated[int, Field(ge=2, le=100)] = 10
    adwin_delta: Annotated[float, Field(gt=0, lt=1)] = 0.002


class AlertingSettings(_Section):
    """Which rules are in force and what may act."""

    rules: Path | None = Field(default=None, description="a rules file instead of the default")
    dry_run: bool = Field(default=False, description="ask for actions but let none be applied")
    actions_per_hour: Count = 6
    cooldown_s: Seconds = 600
    undone_cooldown_s: Seconds = Field(
        default=6 * 3_600,
        description="an action that was undone, for it did not help, is not taken again sooner",
    )
    blast_radius: Count = Field(
        default=3, description="so many models, and no more, are acted on within an hour"
    )
    modes: dict[ActionKind, ActionMode] = Field(
        default_factory=dict,
        description="automatic, required (approval) or dry_run for each kind of action; of a "
        "rule's and this the stricter holds, and the executor sees to it",
    )
    max_watermark_lag_s: PositiveSeconds = 60

    @field_validator("modes")
    @classmethod
    def _undo_has_no_mode(cls, value: dict[ActionKind, ActionMode]) -> dict[ActionKind, ActionMode]:
        if ActionKind.UNDO in value:
            raise ValueError("expected no 'undo': what was approved covers its being taken back")
        return value


class GroupingSettings(_Section):
    """Which incidents are told as one message, and how often; the times are Alertmanager's.

    ``by`` names the labels (and ``rule``, ``severity``) whose values an incident shares with its
    group; ``...`` alone means all of them, so that each incident is a message of its own, told at
    once.
    """

    by: tuple[str, ...] = ("...",)
    wait_s: Seconds = Field(default=10, description="a new group waits for more of its kind")
    interval_s: PositiveSeconds = Field(
        default=300, description="a group that was told of tells of changes no sooner"
    )
    repeat_s: PositiveSeconds = Field(default=4 * 3_600, description="what still fires says so")
    storm_after: Annotated[int, Field(ge=0, le=100)] = Field(
        default=6, description="as many new messages in a storm window; 0: no limit"
    )
    storm_window_s: PositiveSeconds = Field(
        default=300, description="what comes beyond storm_after in it is told as one message"
    )

    def scaled(self, factor: float) -> Self:
        """Return the times divided by a factor: a rehearsal in fast motion."""
        times = ("wait_s", "interval_s", "repeat_s", "storm_window_s")
        return self.model_copy(update={name: getattr(self, name) / factor for name in times})


class ApiSettings(_Section):
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


class NotifySettings(_Section):
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


class FlagSettings(_Section):
    """The flag file, in flagd's format, that serving obeys."""

    path: Path = Path(".tocsin/flags.json")


class _ScaleSettings(_Section):
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


class AdapterSettings(_Section):
    """A vLLM server whose LoRA adapters may be unloaded; off without `base_url`."""

    base_url: str = Field(default="", description="without /v1")
    api_key: SecretStr = SecretStr("")
    timeout_s: PositiveSeconds = 10


class LiteLLMSettings(_Section):
    """A LiteLLM proxy: fallbacks of a model and the limit of a key; off without `base_url`."""

    base_url: str = ""
    master_key: SecretStr = SecretStr("")
    provider: str = ""
    model: str = ""
    fallback_models: tuple[str, ...] = ()
    key_hash: str = Field(default="", description="of the key to limit, as the proxy shows it")
    rpm_limit: Count = 60
    timeout_s: PositiveSeconds = 10


class ActuatorSettings(_Section):
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


class GatewaySettings(_Section):
    """The gateway: its file, where it listens, and what a request may take."""

    config: Path = Field(
        default=Path("gateway.yaml"), description="upstreams, models, keys and limits"
    )
    host: str = "127.0.0.1"
    port: Port = 8800
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = Field(
        default=9470, description="of the first worker; each further one takes the next port"
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="processes that share the address and the rate limits"
    )
    concurrency: Count = Field(default=1_000, description="requests at once; more are turned away")
    body_bytes: Count = 16 * 1024 * 1024
    answer_bytes: Count = Field(
        default=64 * 1024 * 1024, description="longer answers are cut off, which the client is told"
    )
    header_timeout_s: PositiveSeconds = Field(
        default=10, description="how long a client may take for the head of a request"
    )
    body_timeout_s: PositiveSeconds = 30
    send_timeout_s: PositiveSeconds = Field(
        default=30, description="how long a client may take nothing of its answer"
    )
    connect_timeout_s: PositiveSeconds = 2
    first_token_timeout_s: PositiveSeconds = Field(
        default=30, description="of a stream; then the next upstream is asked"
    )
    answer_timeout_s: PositiveSeconds = Field(
        default=120, description="of an answer in one piece; then the next upstream is asked"
    )
    idle_timeout_s: PositiveSeconds = Field(
        default=30, description="between two pieces of an upstream's answer"
    )
    total_timeout_s: PositiveSeconds = Field(
        default=600, description="of a request, all upstreams together"
    )
    upstream_keepalive_s: PositiveSeconds = Field(
        default=4, description="shorter than the upstreams' own (vLLM: 5), or requests meet a close"
    )
    flags_poll_s: PositiveSeconds = 0.25


class OtlpAttributes(_Section):
    """Which attributes of a span, or else of its resource, are fields of its event.

    The first that is there decides; what a source of spans tells by itself comes after these.
    """

    server: tuple[str, ...] = ("tocsin.server",)
    provider: tuple[str, ...] = ("tocsin.provider",)
    model: tuple[str, ...] = ("tocsin.model",)
    model_version: tuple[str, ...] = ("tocsin.model_version",)
    feature: tuple[str, ...] = ("tocsin.feature",)
    user_id: tuple[str, ...] = ("tocsin.user", "user.id", "enduser.id")
    plan: tuple[str, ...] = ("tocsin.plan",)
    route: tuple[str, ...] = ("tocsin.route",)


class OtlpSettings(_Section):
    """Spans over OTLP/HTTP; without a token it listens on loopback addresses only."""

    host: str = "127.0.0.1"
    port: Port = 4318
    token: SecretStr = Field(
        default=SecretStr(""), description="wanted as `Authorization: Bearer TOKEN`"
    )
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9467
    concurrency: Count = Field(
        default=8, description="exports at once; more are told to come again"
    )
    body_bytes: Count = Field(default=16 * 1024 * 1024, description="of an export, unpacked")
    header_timeout_s: PositiveSeconds = 10
    body_timeout_s: PositiveSeconds = 30
    broker_timeout_s: PositiveSeconds = Field(
        default=5, description="how long the broker may take to be reached, or to take a record"
    )
    retry_after_s: Count = Field(
        default=5, description="what clients are told to wait when the broker does not answer"
    )
    attributes: OtlpAttributes = OtlpAttributes()
    reported: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="attribute and values: spans that have one are of requests that a gateway or "
        "a server reports itself, as in {server.address: [gateway.internal]}",
    )


class PriceSettings(_Section):
    """The price book; the guide's table ships with Tocsin."""

    path: Path | None = None


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


@cache
def _known_variables() -> frozenset[str]:
    names: set[str] = set()

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            key = f"{prefix}{name}".upper()
            names.add(key)
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                walk(field.annotation, f"{key}__")

    walk(Settings, "TOCSIN_")
    return frozenset(names)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from arguments, environment and file.

    Raises:
        SettingsError: naming the file or variable, the key, and what was expected.
    """
    known = _known_variables()
    strange = sorted(k for k in os.environ if k.startswith("TOCSIN_") and k.upper() not in known)
    if strange:
        raise SettingsError(
            f"environment: {', '.join(strange)}: no such setting; "
            "`tocsin settings --names` lists the known ones"
        )
    path = os.environ.get("TOCSIN_CONFIG")
    if path:
        _check_file(path)
    folder = os.environ.get("TOCSIN_SECRETS_DIR")
    if folder:
        _check_secrets(Path(folder), known)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    except ValueError as error:  # an environment value that should have been JSON
        raise SettingsError(f"environment: {error}") from None


def _check_secrets(folder: Path, known: frozenset[str]) -> None:
    """Raise when the directory that TOCSIN_SECRETS_DIR names holds what is no setting."""
    if not folder.is_dir():
        raise SettingsError(f"environment: TOCSIN_SECRETS_DIR: no such directory: {folder}")
    strange = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.upper().startswith("TOCSIN_") and path.name.upper() not in known
    )
    if strange:
        raise SettingsError(
            f"{folder}: {', '.join(strange)}: no such setting; "
            "`tocsin settings --names` lists the known ones"
        )


def _check_file(path: str) -> None:
    """Raise when the file that TOCSIN_CONFIG names holds no settings."""
    if not Path(path).is_file():
        raise SettingsError(f"environment: TOCSIN_CONFIG: no such file: {path}")
    try:
        data = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise SettingsError(f"environment: TOCSIN_CONFIG: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text in UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from None
    if not isinstance(data, dict | None):
        raise SettingsError(f"{path}: not a mapping of settings, such as `tocsin settings` prints")


def _explain(error: ValidationError, path: str | None) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        keys = [str(part) for part in item["loc"]]
        variable = "TOCSIN_" + "__".join(keys).upper()
        source = variable if variable in os.environ else (path or "settings")
        lines.append(f"{source}: {'.'.join(keys)}: {item['msg']}")
    return "\n".join(lines)
