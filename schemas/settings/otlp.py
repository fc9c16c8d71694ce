"""Spans over OTLP/HTTP."""

from __future__ import annotations

from pydantic import Field, SecretStr

from schemas.settings.section import Count, Port, PositiveSeconds, Section

__all__ = ["OtlpAttributes", "OtlpSettings"]


class OtlpAttributes(Section):
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


class OtlpSettings(Section):
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
