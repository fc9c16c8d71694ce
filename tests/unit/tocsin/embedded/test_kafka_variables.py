from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from schemas.settings import KafkaSettings, load_settings
from tocsin.embedded.stack import kafka_variables


@pytest.mark.parametrize(
    "kafka",
    [
        KafkaSettings(),
        KafkaSettings(bootstrap="10.0.0.1:9092", partitions=3, log_id="blue", fetch_wait_s=0.1),
        KafkaSettings(
            security_protocol="SASL_SSL",
            username="tocsin",
            password=SecretStr("geheim"),
            ca_file=Path("/etc/ca.pem"),
        ),
    ],
)
def test_a_process_reads_the_broker_that_it_was_given(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What this process's own environment says of another broker counts no more.
    for name, value in kafka_variables(
        KafkaSettings(security_protocol="SASL_SSL", username="other", password=SecretStr("x"))
    ).items():
        monkeypatch.setenv(name, value)
    for name, value in kafka_variables(kafka).items():
        monkeypatch.setenv(name, value)
    assert load_settings().kafka == kafka
