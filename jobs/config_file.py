"""A YAML file and `--set` overrides -> a checked `RunConfig`, and back."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from jobs.config import RunConfig
from jobs.presets import with_preset
from rddm.errors import ConfigError

_ADAPTER: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also takes `1e-4` for the number that it is in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read one run.

    Args:
        path: A YAML file.
        overrides: `dotted.key=value` strings, the value in YAML.

    Raises:
        ConfigError: The file is missing or is no YAML mapping, a key is unknown, a type or a choice is wrong.
    """
    data = _read(path)
    for override in overrides:
        _apply(data, override)
    return from_mapping(data, where=str(path))


def from_mapping(data: Mapping[str, Any], *, where: str = "config") -> RunConfig:
    """Check a plain mapping and build the run that it describes.

    Raises:
        ConfigError: As `load`; `where` names the mapping's origin.
    """
    _refuse_unknown_keys(RunConfig, data, prefix="", where=where)
    try:
        whole = with_preset(json.loads(json.dumps(data)), where=where)
        return _ADAPTER.validate_json(json.dumps(whole), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, where) for item in error.errors())) from None
    except TypeError as error:
        raise ConfigError(f"{where}: {error}; expected plain YAML values") from None


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """The run as plain values: what is printed, logged, hashed, and handed to workers."""
    mapping: dict[str, Any] = json.loads(_ADAPTER.dump_json(config))
    return mapping


def to_yaml(config: RunConfig) -> str:
    """The resolved run as YAML that `load` reads back."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True)


def json_schema() -> dict[str, Any]:
    """JSON schema of a run, for editors."""
    return _ADAPTER.json_schema()


def digest(config: RunConfig) -> str:
    """SHA-256 of the resolved run, in hexadecimal."""
    return hashlib.sha256(json.dumps(to_mapping(config), sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigError(f"config file {path}: {reason}; give --config an existing YAML file") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} holds a {type(data).__name__}; expected a mapping of keys")
    return data


def parse_override(override: str) -> tuple[str, Any]:
    """Dotted key and YAML value of a `--set`.

    Raises:
        ConfigError: It is not `KEY=VALUE`, or the value is no YAML.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, such as train.steps=100")
    return key, _scalar(text, override)


def _apply(data: dict[str, Any], override: str) -> None:
    key, value = parse_override(override)
    *parents, last = key.split(".")
    target = data
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds a value, not a group of keys")
        target = inner
    target[last] = value


def _scalar(text: str, override: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML; quote it") from None


def _refuse_unknown_keys(cls: type, data: Mapping[str, Any], *, prefix: str, where: str) -> None:
    hints = typing.get_type_hints(cls)
    for key, value in data.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"one of: {', '.join(sorted(hints))}"
            raise ConfigError(f"{where}: unknown key {prefix}{key}; {hint}")
        inner = _dataclass_in(hints[key])
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown_keys(inner, value, prefix=f"{prefix}{key}.", where=where)


def _dataclass_in(hint: Any) -> type | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)  # type: ignore[return-value]


def _explain(item: Any, where: str) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    if item["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{where}: {path} is missing; add it"
    return f"{where}: {path} is {item['input']!r}; {item['msg'][0].lower()}{item['msg'][1:]}"
