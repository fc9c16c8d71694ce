"""The flag file as a value: what is read is what was written, and nothing foreign gets in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.flag import FlagKey
from serving.errors import FlagFileError, UnknownVariantError
from serving.flags.document import FlagDocument, parse_document
from serving.flags.history import ChangeKind
from serving.flags.initial import initial_document
from serving.flags.reader import evaluate

BY_HAND: dict[str, Any] = {
    "$evaluators": {"staff": {"in": ["@ours", {"var": "email"}]}},
    "metadata": {"owner": "alice", "since": 2026},
    "flags": {
        "ai.model.version": {
            "state": "ENABLED",
            "variants": {"v1": "v1", "v2": "v2"},
            "defaultVariant": "v1",
            "targeting": {"if": [{"$ref": "staff"}, "v2", None]},
            "metadata": {"team": "search"},
        },
        "shop.colour": {"state": "ENABLED", "variants": {"a": [1, 2]}, "defaultVariant": "a"},
    },
}


def written(document: FlagDocument) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(document.to_bytes())
    return content


def changed(path: str, value: object) -> bytes:
    content = json.loads(initial_document(providers=["a"], versions=["v1"], at_us=1).to_bytes())
    place = content
    *parents, last = path.split("/")
    for name in parents:
        place = place[name]
    place[last] = value
    return json.dumps(content).encode()


def test_it_carries_along_what_it_does_not_know() -> None:
    document = parse_document(json.dumps(BY_HAND).encode())
    content = written(
        document.switched(
            FlagKey.MODEL_VERSION,
            "v2",
            kind=ChangeKind.PROMOTION,
            at_us=5,
            by="alice",
            reason="because",
        )
    )
    assert content["$evaluators"] == BY_HAND["$evaluators"]
    assert content["flags"]["shop.colour"] == BY_HAND["flags"]["shop.colour"]
    assert content["metadata"]["owner"] == "alice"
    version = content["flags"]["ai.model.version"]
    assert version["targeting"] == BY_HAND["flags"]["ai.model.version"]["targeting"]
    assert version["metadata"]["team"] == "search"
    assert version["defaultVariant"] == "v2"


names = st.lists(
    st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable()),
    min_size=1,
    max_size=4,
    unique=True,
)


@given(providers=names, versions=names, turns=st.lists(st.integers(0, 99), max_size=12))
def test_what_is_written_is_what_is_read(
    providers: list[str], versions: list[str], turns: list[int]
) -> None:
    document = initial_document(providers=providers, versions=versions, at_us=1)
    for at_us, turn in enumerate(turns):
        document = document.switched(
            FlagKey.MODEL_VERSION,
            versions[turn % len(versions)],
            kind=list(ChangeKind)[turn % len(ChangeKind)],
            at_us=at_us,
            by="somebody",
            reason="why",
        )
    data = document.to_bytes()
    again = parse_document(data)
    assert again.to_bytes() == data
    assert again.flags == document.flags
    assert again.revision == 5 + len(turns)
    assert evaluate(data, FlagKey.MODEL_VERSION) == document.flag(FlagKey.MODEL_VERSION).value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b'{"flags": {"ai.model', "not JSON"),
        (b"[]", "dictionary"),
        (b"{}", "flags: Field required"),
        (b'{"flags": []}', "flags"),
        (changed("flags/ai.model.version/defaultVariant", "v9"), "none of the variants"),
        (changed("flags/ai.model.version/variants", {}), "ai.model.version.variants"),
        (changed("flags/ai.model.version/variants", {"v1": 3}), "ai.model.version.variants.v1"),
        (changed("flags/ai.model.version/state", "ON"), "ai.model.version.state"),
        (changed("flags/ai.model.version/metadata/tocsin.history", "torn["), "Invalid JSON"),
        (changed("flags/ai.model.provider/metadata/tocsin.chain", '["z"]'), "no such variant: z"),
        (changed("flags/ai.model.provider/metadata/tocsin.chain", "z"), "tocsin.chain: not what"),
        (changed("metadata/tocsin.revision", -1), "not a count"),
        (changed("metadata/tocsin.revision", "x"), "not a count"),
        (changed("metadata/tocsin.format", 2), "another Tocsin"),
        (changed("metadata/tocsin.actions", "{}"), "metadata.tocsin.actions: not what"),
        (changed("metadata/extra", {"a": 1}), "metadata.extra"),
    ],
)
def test_what_cannot_be_true_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FlagFileError, match=r"^here/flags\.json: ") as caught:
        parse_document(data, "here/flags.json")
    assert words in str(caught.value)


def test_no_such_flag_or_variant() -> None:
    document = initial_document(providers=["a"], versions=["v1"], at_us=1)
    with pytest.raises(UnknownVariantError, match="no variant 'v2'; it has v1"):
        document.switched(
            FlagKey.MODEL_VERSION,
            "v2",
            kind=ChangeKind.PROMOTION,
            at_us=1,
            by="alice",
            reason="typo",
        )
    with pytest.raises(UnknownVariantError, match="no flag"):
        FlagDocument(flags={}).flag(FlagKey.MODEL_VERSION)
    with pytest.raises(UnknownVariantError, match="at least one"):
        initial_document(providers=[], versions=["v1"], at_us=1)


def test_history_and_ledger_are_bounded() -> None:
    document = initial_document(providers=["a"], versions=["v1", "v2"], at_us=1)
    for at_us in range(300):
        document = document.switched(
            FlagKey.MODEL_VERSION,
            f"v{1 + at_us % 2}",
            kind=ChangeKind.PROMOTION,
            at_us=at_us,
            by="alice",
            reason="x" * 100,
        )
    assert len(document.to_bytes()) < 64 * 1024
