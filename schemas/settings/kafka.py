"""How to reach Apache Kafka, or whatever speaks its protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from schemas.settings.section import Count, PositiveSeconds, Section

__all__ = ["KafkaSettings"]


class KafkaSettings(Section):
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
