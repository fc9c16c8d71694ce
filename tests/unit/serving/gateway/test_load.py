"""The gateway's file: what is wrong is named; keys are known by their hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.errors import GatewayFileError
from serving.gateway.keys import KeyRing, bearer, hash_key, new_key
from serving.gateway.load import load_gateway
from serving.gateway.model import KeyEntry

UPSTREAM: dict[str, Any] = {"base_url": "http://a:1/v1", "provider": "vllm"}
GOOD: dict[str, Any] = {
    "version": 1,
    "upstreams": {"a": UPSTREAM},
    "models": {"m": {"targets": [{"upstream": "a", "versions": {"v1": "m"}}]}},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


def test_a_good_file(tmp_path: Path) -> None:
    loaded = load_gateway(write(tmp_path), {})
    assert list(loaded.file.upstreams) == ["a"]
    assert loaded.file.breaker.consecutive_failures == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"upstreams": {}}, "upstreams: Dictionary should have at least 1"),
        ({"upstreams": {"a": {"base_url": "ftp://x", "provider": "p"}}}, "upstreams.a.base_url"),
        ({"upstreams": {"a": {"base_url": "http://u:p@x/v1", "provider": "p"}}}, "a.base_url"),
        ({"models": {"m": {"targets": [{"upstream": "z", "versions": {"v": "m"}}]}}}, "stream: z"),
        ({"models": {"m": {}}}, "models.m: a model has either targets or rules"),
        ({"models": {**GOOD["models"], "r": {"rules": [{"use": "m", "tools": True}]}}}, "the last"),
        ({"models": {**GOOD["models"], "r": {"rules": [{"use": "r"}]}}}, "r is no model"),
        ({"keys": [{"name": "k", "sha256": "secret"}]}, "keys.0.sha256"),
        ({"keys": [{"name": n, "sha256": "0" * 64} for n in "ab"]}, "keys: b and a are the same"),
        ({"limits": {"n": [{"by": "user"}]}}, "limits.n.0: needs requests_per_minute"),
        ({"limits": {"n": [{"by": "ip", "requests_per_minute": 1}]}}, "limits.n.0.by"),
        ({"limits": {"n": [{"by": "user", "requests_per_minute": 0}]}}, "greater than 0"),
        ({"breaker": {"max_ejected_share": 2}}, "breaker.max_ejected_share"),
        ({"upstreams": {"a": {**UPSTREAM, "api": "gopher"}}}, "upstreams.a.api"),
        (
            {"upstreams": {"a": {**UPSTREAM, "api": "anthropic", "joined": True}}},
            "upstreams.a: joined",
        ),
        ({"upstreams": {"a": {**UPSTREAM, "max_tokens": 9}}}, "upstreams.a: max_tokens: only with"),
        ({"typo": 1}, "typo: Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(GatewayFileError) as caught:
        load_gateway(path, {})
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"), [(b"a: [", "not YAML"), (b"\xff\xfe\xfa", "not a text"), (b"- 1", "valid")]
)
def test_no_such_content(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(content)
    with pytest.raises(GatewayFileError, match=said):
        load_gateway(path, {})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(GatewayFileError, match="TOCSIN_GATEWAY__CONFIG"):
        load_gateway(tmp_path / "none.yaml", {})


def test_upstream_keys_come_from_the_environment_and_show_nowhere(tmp_path: Path) -> None:
    upstreams = {"a": {**GOOD["upstreams"]["a"], "api_key_env": "THE_KEY"}}
    path = write(tmp_path, upstreams=upstreams)
    loaded = load_gateway(path, {"THE_KEY": "sk-secret"})
    assert loaded.secrets["a"].get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(loaded)
    for environ in ({}, {"THE_KEY": ""}, {"THE_KEY": "a\r\nx: y"}):
        with pytest.raises(GatewayFileError, match="THE_KEY"):
            load_gateway(path, environ)


def test_keys_are_known_by_their_hash() -> None:
    key = new_key()
    ring = KeyRing([KeyEntry(name="web", sha256=hash_key(key), plan="pro")])
    assert not ring.open
    entry = ring.check(key)
    assert entry is not None
    assert entry.plan == "pro"
    assert key not in repr(entry)
    for wrong in (None, "", key[:-1], key + "x", hash_key(key), "x" * 10_000, "ключ"):
        assert ring.check(wrong) is None
    assert KeyRing([]).open
    assert new_key() != key


def test_half_of_a_hash_is_not_enough() -> None:
    key = new_key()
    forged = hash_key(key)[:32] + "0" * 32
    assert KeyRing([KeyEntry(name="web", sha256=forged)]).check(key) is None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"bearer  abc ")], "abc"),
        ([(b"x-api-key", b"abc")], "abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([], None),
    ],
)
def test_where_a_key_stands(headers: list[tuple[bytes, bytes]], key: str | None) -> None:
    assert bearer(headers) == key
