from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tests.support.broker import free_port
from tests.unit.serving.emit.events import make_event
from tocsin.cli.main import app


def _commands() -> Iterator[tuple[str, ...]]:
    root = typer.main.get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        yield (name,)
        for inner in getattr(command, "commands", {}):
            yield (name, inner)


@pytest.mark.parametrize("command", list(_commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.output


def test_doctor_says_what_to_do_when_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_KAFKA__BOOTSTRAP", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PORT", str(free_port()))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "FAIL broker" in result.output
    assert "FAIL store" in result.output
    assert "TOCSIN_KAFKA__BOOTSTRAP" in result.output
    assert "ok   rules" in result.output


def test_query_says_that_no_store_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PORT", str(free_port()))
    result = CliRunner().invoke(app, ["query", "SELECT 1"])
    assert result.exit_code == 2
    assert "tocsin up" in result.output
    assert "urllib3" not in result.output


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_file_is_no_data_directory(tmp_path: Path, command: str) -> None:
    path = tmp_path / "file"
    path.write_text("")
    result = CliRunner().invoke(app, [command, "--data-dir", str(path)])
    assert result.exit_code == 2
    assert "cannot be the data directory" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "option", ["--kafka-port", "--clickhouse-port", "--metrics-port", "--api-port"]
)
def test_a_port_is_no_larger_than_ports_are(option: str) -> None:
    result = CliRunner().invoke(app, ["up", option, "70000"])
    assert result.exit_code == 2
    assert option in result.output


def test_a_wrong_setting_stops_every_process_naming_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_STREAMS__WINDOW_S", "soon")
    for command in ("worker", "executor", "migrate", "doctor", "gateway"):
        result = CliRunner().invoke(app, [command])
        assert result.exit_code == 2
        assert "TOCSIN_STREAMS__WINDOW_S" in result.output


def test_rules_check_names_file_and_line(tmp_path: object) -> None:
    path = f"{tmp_path}/rules.yaml"
    with open(path, "w") as file:  # noqa: PTH123
        file.write("version: 1\nrules:\n  - name: x\n    signal: vibes\n")
    result = CliRunner().invoke(app, ["rules", "check", path])
    assert result.exit_code == 2
    assert "rules.yaml:4" in result.output.replace("\n", "")


def test_settings_lists_variables_and_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_NOTIFY__SLACK_TOKEN", "xoxb-very-secret")
    shown = CliRunner().invoke(app, ["settings"])
    assert "xoxb-very-secret" not in shown.output
    names = CliRunner().invoke(app, ["settings", "--names"])
    assert "TOCSIN_KAFKA__BOOTSTRAP" in names.output.splitlines()


def test_a_command_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from tocsin.cli.main import app;"
        "heavy = {'scipy', 'faust', 'river', 'clickhouse_connect', 'aiokafka'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("command", "section"),
    [("worker", "STREAMS"), ("executor", "ACTUATORS"), ("gateway", "GATEWAY")],
)
def test_an_address_that_metrics_cannot_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, section: str
) -> None:
    monkeypatch.setenv("TOCSIN_GATEWAY__CONFIG", str(_gateway_file(tmp_path)))
    monkeypatch.setenv("TOCSIN_FLAGS__PATH", str(tmp_path / "flags.json"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv(f"TOCSIN_{section}__METRICS_PORT", str(port))
        result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.output
    assert f"TOCSIN_{section}__METRICS_PORT" in " ".join(result.output.split())


def test_a_freeze_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("")
    monkeypatch.setenv("TOCSIN_DATA_DIR", str(path))
    result = CliRunner().invoke(app, ["actions", "freeze", "audit"])
    assert result.exit_code == 2
    assert "NOT frozen" in result.output
    assert CliRunner().invoke(app, ["actions", "thaw"]).exit_code == 2


def test_a_replay_without_a_broker_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(make_event().to_json())
    monkeypatch.setenv("TOCSIN_KAFKA__BOOTSTRAP", f"127.0.0.1:{free_port()}")
    result = CliRunner().invoke(app, ["replay", str(path)])
    assert result.exit_code == 2
    assert "no broker answers" in result.output


def _gateway_file(folder: Path, **changes: object) -> Path:
    path = folder / "gateway.yaml"
    file = {
        "version": 1,
        "upstreams": {"a": {"base_url": "http://127.0.0.1:1/v1", "provider": "vllm"}},
        "models": {"m": {"targets": [{"upstream": "a", "versions": {"v1": "m", "v2": "n"}}]}},
    }
    path.write_text(yaml.safe_dump(file | changes))
    return path


def test_a_gateway_without_its_file_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["gateway"])
    assert result.exit_code == 2
    assert "TOCSIN_GATEWAY__CONFIG" in result.output


def test_a_gateway_open_to_others_needs_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_GATEWAY__CONFIG", str(_gateway_file(tmp_path)))
    monkeypatch.setenv("TOCSIN_GATEWAY__HOST", "0.0.0.0")
    result = CliRunner().invoke(app, ["gateway", "--check"])
    assert result.exit_code == 2
    assert "--new-key" in result.output


def test_a_new_key_fits_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = CliRunner().invoke(app, ["gateway", "--new-key", "web"])
    assert made.exit_code == 0
    key, _, entry = made.stdout.partition("\n")
    path = _gateway_file(tmp_path, keys=yaml.safe_load(entry))
    monkeypatch.setenv("TOCSIN_GATEWAY__CONFIG", str(path))
    monkeypatch.setenv("TOCSIN_GATEWAY__HOST", "0.0.0.0")
    monkeypatch.setenv("TOCSIN_FLAGS__PATH", str(tmp_path / "flags.json"))
    result = CliRunner().invoke(app, ["gateway", "--check"])
    assert result.exit_code == 0, result.output
    assert "1 keys" in " ".join(result.output.split())  # the console breaks long lines
    assert key.startswith("tcs-")
    assert key not in path.read_text()
    assert not (tmp_path / "flags.json").exists()
