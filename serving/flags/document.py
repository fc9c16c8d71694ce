"""The flag file as a value: flagd's format, with Tocsin's history and ledger in its metadata.

flagd's metadata takes only numbers, strings and booleans, so lists stand there as JSON text.
Whatever else a flagd file may hold (targeting rules, evaluators, flags of others) is carried along
unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from schemas.action import ActionResult
from schemas.flag import FlagKey
from serving.errors import FlagFileError, UnknownVariantError
from serving.flags.history import Change, ChangeKind, History, extend, history_adapter

__all__ = ["LEDGER_LIMIT", "Flag", "FlagDocument", "VariantValue", "parse_document"]

FORMAT: Final = 1
LEDGER_LIMIT: Final = 100
"""Applied actions that are remembered, the newest."""

VariantValue = str | bool
_Scalar = str | bool | int | float
_Item = TypeVar("_Item")
_ledger: TypeAdapter[tuple[ActionResult, ...]] = TypeAdapter(tuple[ActionResult, ...])
_names: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its variants by name, the one in force, and how it came to be."""

    key: FlagKey
    variants: Mapping[str, VariantValue]
    variant: str
    enabled: bool = True
    history: History = ()
    chain: tuple[str, ...] = ()
    """The order in which fallback takes the variants."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """Members that only flagd understands."""
    metadata: Mapping[str, _Scalar] = field(default_factory=dict)

    @property
    def value(self) -> VariantValue:
        """Return the value in force."""
        return self.variants[self.variant]

    @property
    def targeted(self) -> bool:
        """Tell whether rules decide for each request, so that the default is not the last word."""
        return bool(self.rest.get("targeting"))


@dataclass(frozen=True, slots=True)
class FlagDocument:
    """All flags at one revision, and the ledger of the actions that changed them."""

    flags: Mapping[FlagKey, Flag]
    revision: int = 0
    actions: tuple[ActionResult, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, _Scalar] = field(default_factory=dict)
    digest: str = ""
    """SHA-256 of the bytes that were read, for compare-and-set; empty until they are written."""

    def flag(self, key: FlagKey) -> Flag:
        """Return a flag.

        Raises:
            UnknownVariantError: the file has no such flag.
        """
        if key not in self.flags:
            raise UnknownVariantError(f"the flag file has no flag {key}")
        return self.flags[key]

    def action(self, action_id: str) -> ActionResult | None:
        """Return what was recorded of an applied action."""
        return next((a for a in reversed(self.actions) if a.action_id == action_id), None)

    def switched(
        self,
        key: FlagKey,
        variant: str,
        *,
        kind: ChangeKind,
        at_us: int,
        by: str,
        reason: str,
        action: ActionResult | None = None,
    ) -> FlagDocument:
        """Return the document with one flag set to another variant, at the next revision.

        Raises:
            UnknownVariantError: the flag or the variant does not exist.
        """
        flag = self.flag(key)
        if variant not in flag.variants:
            known = ", ".join(flag.variants)
            raise UnknownVariantError(f"{key} has no variant {variant!r}; it has {known}")
        change = Change(
            variant=variant,
            previous=None if kind is ChangeKind.CREATED else flag.variant,
            kind=kind,
            revision=self.revision + 1,
            at_us=at_us,
            by=by,
            reason=reason,
            action_id=action.action_id if action else None,
        )
        changed = replace(flag, variant=variant, history=extend(flag.history, change))
        actions = (*self.actions, action)[-LEDGER_LIMIT:] if action else self.actions
        return replace(self, actions=actions).with_flag(changed)

    def with_flag(self, flag: Flag) -> FlagDocument:
        """Return the document with a flag added or replaced, at the next revision."""
        return replace(
            self, flags={**self.flags, flag.key: flag}, revision=self.revision + 1, digest=""
        )

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        metadata: dict[str, _Scalar] = dict(self.metadata)
        metadata |= {"tocsin.format": FORMAT, "tocsin.revision": self.revision}
        if self.actions:
            metadata["tocsin.actions"] = _ledger.dump_json(
                self.actions, exclude_none=True, exclude_defaults=False
            ).decode()
        flags = {str(key): _flag_out(flag) for key, flag in self.flags.items()}
        content = {**self.rest, "metadata": metadata, "flags": {**self.others, **flags}}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _flag_out(flag: Flag) -> dict[str, Any]:
    metadata: dict[str, _Scalar] = dict(flag.metadata)
    if flag.chain:
        metadata["tocsin.chain"] = orjson.dumps(flag.chain).decode()
    if flag.history:
        metadata["tocsin.history"] = history_adapter.dump_json(
            flag.history, exclude_none=True
        ).decode()
    return {
        "state": "ENABLED" if flag.enabled else "DISABLED",
        "variants": dict(flag.variants),
        "defaultVariant": flag.variant,
        **flag.rest,
        **({"metadata": metadata} if metadata else {}),
    }


class _Flag(BaseModel):
    """A flag as flagd's file has it."""

    model_config = ConfigDict(extra="allow", strict=True)

    state: Literal["ENABLED", "DISABLED"]
    variants: Annotated[dict[str, VariantValue], Field(min_length=1)]
    default_variant: Annotated[str, Field(alias="defaultVariant", min_length=1)]
    metadata: dict[str, _Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _variant_exists(self) -> _Flag:
        if self.default_variant not in self.variants:
            raise ValueError(f"defaultVariant {self.default_variant!r} is none of the variants")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    flags: dict[str, dict[str, Any]]
    metadata: dict[str, _Scalar] = Field(default_factory=dict)


def parse_document(data: bytes, name: str = "flag file") -> FlagDocument:
    """Return the document in `data`; `name` is what an error calls it.

    Raises:
        FlagFileError: the file is torn, is no flagd file, or holds what cannot be true.
    """
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FlagFileError(f"{name}: not JSON, torn perhaps: {error}") from None
    try:
        file = _File.model_validate(content)
        metadata = dict(file.metadata)
        version = metadata.pop("tocsin.format", FORMAT)
        if version != FORMAT:
            raise FlagFileError(f"{name}: written by another Tocsin (format {version})")
        revision = metadata.pop("tocsin.revision", 0)
        if type(revision) is not int or revision < 0:
            raise FlagFileError(f"{name}: metadata: tocsin.revision: not a count: {revision!r}")
        actions = _list(_ledger, metadata, "tocsin.actions", f"{name}: metadata")
        known = set(FlagKey)
        flags = {
            FlagKey(key): _flag_in(name, FlagKey(key), raw)
            for key, raw in file.flags.items()
            if key in known
        }
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FlagFileError(f"{name}: {place or error.title}: {first['msg']}") from None
    return FlagDocument(
        flags=flags,
        revision=revision,
        actions=actions,
        others={key: raw for key, raw in file.flags.items() if key not in known},
        rest=file.model_extra or {},
        metadata=metadata,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _flag_in(name: str, key: FlagKey, raw: dict[str, Any]) -> Flag:
    try:
        wire = _Flag.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["flags", key, *(str(part) for part in first["loc"])])
        raise FlagFileError(f"{name}: {place}: {first['msg']}") from None
    metadata = dict(wire.metadata)
    place = f"{name}: flags.{key}.metadata"
    chain = _list(_names, metadata, "tocsin.chain", place)
    if strange := [variant for variant in chain if variant not in wire.variants]:
        raise FlagFileError(f"{place}.tocsin.chain: no such variant: {strange[0]}")
    return Flag(
        key=key,
        variants=wire.variants,
        variant=wire.default_variant,
        enabled=wire.state == "ENABLED",
        history=_list(history_adapter, metadata, "tocsin.history", place),
        chain=chain,
        rest=wire.model_extra or {},
        metadata=metadata,
    )


def _list(
    adapter: TypeAdapter[tuple[_Item, ...]], metadata: dict[str, _Scalar], key: str, place: str
) -> tuple[_Item, ...]:
    """Take a list that stands in metadata as JSON text."""
    try:
        return adapter.validate_json(str(metadata.pop(key, "[]")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise FlagFileError(f"{place}.{key}: not what belongs there: {first['msg']}") from None
