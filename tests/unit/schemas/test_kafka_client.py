"""How clients reach a broker that asks who they are."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import SettingsError
from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings

SASL = {"security_protocol": "SASL_SSL", "username": "tocsin", "password": "secret"}


def test_nothing_asked_is_nothing_sent() -> None:
    assert kafka_client(KafkaSettings(), "emit") == {
        "bootstrap_servers": "127.0.0.1:9092",
        "client_id": "tocsin-emit",
        "security_protocol": "PLAINTEXT",
    }


def test_scram_over_tls() -> None:
    found = kafka_client(KafkaSettings.model_validate(SASL))
    context = found.pop("ssl_context")
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert found == {
        "bootstrap_servers": "127.0.0.1:9092",
        "client_id": "tocsin",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "tocsin",
        "sasl_plain_password": "secret",
    }


def test_authorities_and_a_client_certificate_from_files(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    files = {"ca_file": certificate, "cert_file": certificate, "key_file": key}
    given = {"security_protocol": "SSL", **files}
    context = kafka_client(KafkaSettings.model_validate(given))["ssl_context"]
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs username and password"),
        ({**SASL, "password": ""}, "needs username and password"),
        ({"username": "x", "password": "secret"}, "not used with PLAINTEXT"),
        ({**SASL, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "network"),
        ({**SASL, "security_protocol": "TLS"}, "security_protocol"),
        ({**SASL, "sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        KafkaSettings.model_validate(changes)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_file_of_no_certificates_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "file.pem"
    path.write_text("nothing of the kind")
    for found in (path, tmp_path / "missing.pem"):
        settings = KafkaSettings.model_validate({"security_protocol": "SSL", key: found})
        with pytest.raises(SettingsError, match=f"kafka.{key}: .*{found.name}"):
            kafka_client(settings)
