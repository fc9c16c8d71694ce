"""compose.yaml against the published compose schema, and against our own promises."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from jsonschema import Draft7Validator

from schemas.settings import Settings, load_settings
from schemas.settings.load import known_variables
from serving.gateway import metrics as gateway_metrics
from streams import metrics
from tocsin.api.errors import ApiStartError
from tocsin.api.serve import check_address
from tocsin.cli.main import app

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {"migrate", "worker", "executor", "api", "otlp"}

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    else:
        yield str(value)


def mounts() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            yield name, volume


def test_it_is_what_the_compose_specification_says() -> None:
    # The published schema, as the development dependency check-jsonschema ships it; found without
    # importing the package, whose command line wants another click than Faust's.
    spec = find_spec("check_jsonschema")
    assert spec is not None
    assert spec.origin is not None
    schema = Path(spec.origin).parent / "builtin_schemas/vendor/compose-spec.json"
    validator = Draft7Validator(json.loads(schema.read_text()))
    errors = sorted(validator.iter_errors(COMPOSE), key=str)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_parts_that_were_promised_are_there() -> None:
    assert {"kafka", "clickhouse", "prometheus", "alertmanager", "grafana"} | OURS == set(SERVICES)


@every_service
def test_a_port_is_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@every_service
def test_an_image_is_pinned_to_one_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    if name in OURS:
        assert tag == f"${{TOCSIN_VERSION:-{PROJECT['project']['version']}}}"
    else:
        assert re.fullmatch(r"v?\d+(\.\d+){2,3}", tag), "a full version, never a moving tag"


@every_service
def test_a_service_is_bounded_and_may_gain_no_privilege(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert float(limits["cpus"]) > 0
    assert service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    if name != "migrate":  # which ends
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"


@every_service
def test_a_password_has_no_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD", key):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), key
        elif key != "TOCSIN_SECRETS_DIR" and re.search("TOKEN|KEY$|SECRET", key):
            assert re.fullmatch(r"\$\{\w+-\}", value), f"{key}: from the environment, else empty"


def test_the_example_environment_names_every_variable_and_holds_no_secret() -> None:
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    used = {name for text in strings(COMPOSE) for name in re.findall(r"\$\{(\w+)", text)}
    used |= {secret["environment"] for secret in COMPOSE["secrets"].values()}
    assert used - {"TOCSIN_VERSION"} == set(example)
    for name, value in example.items():
        if re.search("PASSWORD|TOKEN|KEY", name):
            assert value == "", name


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_run_commands_and_set_settings_that_exist(name: str) -> None:
    service = SERVICES[name]
    commands = {
        command.name or (command.callback.__name__ if command.callback else None)
        for command in app.registered_commands
    }
    assert service["command"][0] in commands
    assert set(service["environment"]) <= known_variables()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_start_with_nothing_but_the_passwords(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key, value in SERVICES[name]["environment"].items():
        required = re.sub(r"\$\{\w+:\?[^}]+\}", "a-password", str(value))
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", required))
    if "TOCSIN_SECRETS_DIR" in SERVICES[name]["environment"]:
        monkeypatch.setenv("TOCSIN_SECRETS_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.clickhouse.password.get_secret_value() == "a-password"
    assert (settings.kafka.bootstrap, settings.clickhouse.host) == ("kafka:9092", "clickhouse")


def test_the_api_takes_its_token_from_a_file_and_listens_with_it_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api = SERVICES["api"]
    (secret,) = api["secrets"]
    assert COMPOSE["secrets"][secret["source"]] == {"environment": "TOCSIN_API__TOKEN"}
    assert not [key for key in api["environment"] if "TOKEN" in key], "in a file, not here"
    assert api["environment"]["TOCSIN_SECRETS_DIR"] == "/run/secrets"  # where compose puts them
    port = api["environment"]["TOCSIN_API__PORT"]
    assert api["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"127.0.0.1:{port}/healthz" in str(api["healthcheck"])
    monkeypatch.setenv("TOCSIN_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TOCSIN_API__HOST", api["environment"]["TOCSIN_API__HOST"])
    for token in ("", "a-token"):
        (tmp_path / secret["target"]).write_text(token)
        settings = load_settings().api
        assert settings.token.get_secret_value() == token
        if token:
            check_address(settings)
        else:
            with pytest.raises(ApiStartError, match="no token"):
                check_address(settings)


def test_what_is_mounted_exists_read_only_and_every_volume_is_declared() -> None:
    for name, volume in mounts():
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), f"{name}: {source}"
            assert mode == ["ro"], f"{name}: {source}"
        else:
            assert source in COMPOSE["volumes"], f"{name}: {source}"
        assert target.startswith("/")
    used = {volume.split(":")[0] for _, volume in mounts()}
    assert set(COMPOSE["volumes"]) <= used


def test_every_configuration_file_parses() -> None:
    parsed = []
    for path in sorted((ROOT / "deploy").rglob("*")):
        if path.suffix in {".yml", ".yaml"}:
            parsed.append(yaml.safe_load(path.read_text()))
        elif path.suffix == ".xml":
            parsed.append(ET.fromstring(path.read_text()))  # noqa: S314 - our own file
    assert len(parsed) >= 7
    assert all(part is not None for part in parsed)


def test_clickhouses_own_logs_are_bounded_or_off() -> None:
    root = ET.parse(ROOT / "deploy/clickhouse/system-logs.xml").getroot()  # noqa: S314
    logs = [element for element in root if element.tag.endswith("_log")]
    kept = {log.tag for log in logs if log.get("remove") != "1"}
    assert kept == {"query_log", "part_log", "error_log", "crash_log"}
    for log in logs:
        if log.tag in kept:
            assert re.fullmatch(r"event_date \+ INTERVAL \d+ DAY DELETE", log.findtext("ttl") or "")
    # The ones that grew to 67 GiB elsewhere.
    assert {"trace_log", "text_log", "metric_log", "asynchronous_metric_log"} <= {
        log.tag for log in logs if log.get("remove") == "1"
    }


def test_grafanas_user_only_reads() -> None:
    root = ET.parse(ROOT / "deploy/clickhouse/grafana-user.xml").getroot()  # noqa: S314
    assert root.findtext("profiles/grafana/readonly") == "2"
    grants = [grant.text for grant in root.iterfind("users/grafana/grants/query")]
    assert grants == ["GRANT SELECT ON tocsin.*"]
    password = root.find("users/grafana/password")
    assert password is not None
    assert password.text is None
    assert password.get("from_env") in SERVICES["clickhouse"]["environment"]


def test_prometheus_asks_the_port_that_the_worker_opens() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "tocsin-worker"]
    (source,) = job["dns_sd_configs"]
    environment = SERVICES["worker"]["environment"]
    assert source["names"] == ["worker"]
    assert str(source["port"]) == environment["TOCSIN_STREAMS__METRICS_PORT"]
    assert environment["TOCSIN_STREAMS__METRICS_PORT"] in str(SERVICES["worker"]["healthcheck"])


@pytest.mark.parametrize(
    ("job_name", "port"),
    [
        ("tocsin-worker", Settings().streams.metrics_port),
        ("tocsin-executor", Settings().actuators.metrics_port),
        ("tocsin-gateway", Settings().gateway.metrics_port),
    ],
)
def test_prometheus_asks_each_process_at_its_own_port(job_name: str, port: int) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == job_name]
    assert [source["port"] for source in job["dns_sd_configs"]] == [port]


def test_the_rules_about_tocsin_itself_use_metrics_that_exist() -> None:
    families = [
        getattr(catalogue, name)
        for catalogue in (metrics, gateway_metrics)
        for name in catalogue.__all__
    ]
    exposed = {
        described.name + suffix
        for metric in families
        for described in metric.describe()
        for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"\btocsin_\w+", rule["expr"])}
    assert len(asked) >= 5
    assert asked <= exposed
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_alertmanager_reads_its_secrets_from_files_that_are_mounted() -> None:
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    read = {text for text in strings(config) if text.startswith("/run/secrets/")}
    assert read == {f"/run/secrets/{name}" for name in SERVICES["alertmanager"]["secrets"]}
    names = {receiver["name"] for receiver in config["receivers"]}
    assert {route["receiver"] for route in config["route"]["routes"]} <= names


def test_grafanas_sources_are_the_ones_of_this_stack() -> None:
    path = ROOT / "deploy/grafana/provisioning/datasources/tocsin.yaml"
    clickhouse, prometheus = yaml.safe_load(path.read_text())["datasources"]
    assert clickhouse["jsonData"]["host"] in SERVICES
    assert clickhouse["jsonData"]["username"] == "grafana"
    assert (
        clickhouse["secureJsonData"]["password"].removeprefix("$")
        in (SERVICES["grafana"]["environment"])
    )
    assert prometheus["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/tocsin.yaml").read_text()
    )["providers"]
    assert f"./dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "dashboards" / Path(home).name).is_file()


def test_the_image_runs_as_nobody_special_and_copies_what_exists() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    python = next(line for line in lines if line.startswith("ARG PYTHON="))
    assert re.fullmatch(r"ARG PYTHON=python:3\.11\.\d+-slim-\w+", python)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["tocsin"]
    copied = {
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert {path for path in copied if not (ROOT / path).exists()} == set()
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= copied


def test_the_readme_names_no_service_that_is_not_there() -> None:
    readme = (ROOT / "README.md").read_text()
    named = set(
        re.findall(r"docker compose (?:logs|exec|restart|up --scale) (?:-\S+ )*(\w+)", readme)
    )
    assert named <= set(SERVICES)
