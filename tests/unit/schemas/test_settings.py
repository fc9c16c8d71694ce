from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.settings import load_settings


def test_environment_wins_over_file_and_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text("kafka: {bootstrap: 'file:1', client_id: from-file}\n")
    monkeypatch.setenv("TOCSIN_CONFIG", str(path))
    monkeypatch.setenv("TOCSIN_KAFKA__BOOTSTRAP", "env:1")
    settings = load_settings()
    assert settings.kafka.bootstrap == "env:1"
    assert settings.kafka.client_id == "from-file"
    assert settings.clickhouse.port == 8123


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TOCSIN_STREAMS__WINDOW_S", "0", "streams.window_s: Input should be greater than 0"),
        ("TOCSIN_KAFKA__BOOTSTRAPP", "x", "TOCSIN_KAFKA__BOOTSTRAPP: no such setting"),
        ("TOCSIN_CLICKHOUSE__DATABASE", "a; DROP", "clickhouse.database"),
        ("TOCSIN_CONFIG", "/nowhere.yaml", "no such file"),
        ("TOCSIN_EMIT__PROVIDER", "", "emit.provider: String should have at least 1 character"),
        ("TOCSIN_EMIT__SERVER", "s" * 257, "emit.server"),
    ],
)
def test_a_wrong_variable_stops_the_start_naming_itself(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert variable in str(caught.value)


def test_a_wrong_key_in_the_file_names_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text("streams: {windw_s: 10}\n")
    monkeypatch.setenv("TOCSIN_CONFIG", str(path))
    with pytest.raises(SettingsError, match=r"streams\.windw_s") as caught:
        load_settings()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"just words", "not a mapping"),
        (b"- a\n- b\n", "not a mapping"),
        (b"a: [", "not YAML"),
        (b"\xff\xfe\x00", "not a text in UTF-8"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_bytes(content)
    monkeypatch.setenv("TOCSIN_CONFIG", str(path))
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert str(path) in str(caught.value)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_NOTIFY__SLACK_TOKEN", "xoxb-secret")
    settings = load_settings()
    assert "xoxb-secret" not in repr(settings)
    assert "xoxb-secret" not in settings.model_dump_json()


def test_modes_of_actions_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_ALERTING__MODES", '{"rollback": "required", "scale_up": "dry_run"}')
    assert {str(k): str(v) for k, v in load_settings().alerting.modes.items()} == {
        "rollback": "required",
        "scale_up": "dry_run",
    }


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        ('{"rolback": "required"}', "rollback"),
        ('{"rollback": "perhaps"}', "dry_run"),
        ('{"undo": "required"}', "expected no 'undo'"),
    ],
)
def test_modes_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, modes: str, said: str
) -> None:
    monkeypatch.setenv("TOCSIN_ALERTING__MODES", modes)
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_a_secret_may_be_a_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "TOCSIN_API__TOKEN").write_text("from-a-file\n")
    (tmp_path / "TOCSIN_CLICKHOUSE__PASSWORD").write_text("from-a-file")
    (tmp_path / "of-another-program").write_text("x")
    monkeypatch.setenv("TOCSIN_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PASSWORD", "from-the-environment")
    settings = load_settings()
    assert settings.api.token.get_secret_value() == "from-a-file"
    assert settings.clickhouse.password.get_secret_value() == "from-the-environment"
    assert settings.clickhouse.database == "tocsin"


def test_a_secret_file_of_no_setting_or_no_directory_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "TOCSIN_API__TOKEM").write_text("xyzzy-value")
    monkeypatch.setenv("TOCSIN_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match="TOCSIN_API__TOKEM: no such setting") as caught:
        load_settings()
    assert "xyzzy-value" not in str(caught.value)
    monkeypatch.setenv("TOCSIN_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="no such directory"):
        load_settings()
