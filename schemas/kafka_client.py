"""What every Kafka client needs to reach the broker: address, name, and how to prove who it is."""

from __future__ import annotations

import ssl
from typing import Any

from schemas.errors import SettingsError
from schemas.settings import KafkaSettings

__all__ = ["kafka_client", "kafka_tls"]


def kafka_client(settings: KafkaSettings, part: str = "") -> dict[str, Any]:
    """Return the keyword arguments that aiokafka's producers, consumers and admins share.

    Args:
        settings: of the broker.
        part: of Tocsin, appended to the client's id.

    Raises:
        SettingsError: a file of certificates cannot be used; names it.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": f"{settings.client_id}-{part}" if part else settings.client_id,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    if (context := kafka_tls(settings)) is not None:
        arguments["ssl_context"] = context
    return arguments


def kafka_tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS settings of the broker, or None where it uses none.

    The broker's certificate and its name are always checked.

    Raises:
        SettingsError: a file of certificates cannot be used; names it.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(
            cafile=str(settings.ca_file) if settings.ca_file else None
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.ca_file: {settings.ca_file}: no certificates of authorities in PEM: {error}"
        ) from None
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(
                settings.cert_file,
                settings.key_file,
                settings.key_password.get_secret_value() or None,
            )
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"kafka.cert_file: {settings.cert_file}: no certificate with its key: {error}"
            ) from None
    return context
