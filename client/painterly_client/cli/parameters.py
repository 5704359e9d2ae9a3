"""Parameters from a JSON file and from flags, where flags win, and back to JSON."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

from painterly_client import HarmonizeParameters

_T = TypeVar("_T")


def read_parameters(path: Path) -> HarmonizeParameters:
    """Read parameters from a JSON file shaped like HarmonizeParameters; names that it does not have are refused.

    Raises: click.UsageError naming the field, its value and what is allowed.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--parameters {path} cannot be read as JSON: {error}") from error
    return from_json(HarmonizeParameters, data, f"--parameters {path}", "")


def with_flags(parameters: HarmonizeParameters, flags: Mapping[str, Any]) -> HarmonizeParameters:
    """Replace what flags say; None is unset. Keys are field names, ``pass1.iteration_count`` for a pass."""
    for key, value in flags.items():
        if value is None:
            continue
        group, _, name = key.rpartition(".")
        if not group:
            parameters = dataclasses.replace(parameters, **{name: value})
            continue
        hint = _type_of(HarmonizeParameters, group)
        part = getattr(parameters, group) or hint()
        parameters = dataclasses.replace(parameters, **{group: dataclasses.replace(part, **{name: value})})
    return parameters


def to_json(value: object) -> Any:
    """A parameter or result dataclass as JSON values, without what is unset; enums by their value."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: to_json(part) for name, part in pairs if part is not None}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"pass1": {"iteration_count": 3}}`` -> ``{"pass1.iteration_count": 3}``."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def from_json(cls: type[_T], data: object, source: str, path: str) -> _T:
    """Read a dataclass from JSON values; names that it does not have are refused. ``source`` is named in errors.

    Raises: click.UsageError naming the field, its value and what is allowed.
    """
    where = f"{source}: {path}: " if path else f"{source}: "
    if not isinstance(data, dict):
        raise click.UsageError(f"{where}must be an object, got {json.dumps(data)}")
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name not in names:
            raise click.UsageError(f"{where}unknown field {name!r}; known fields: {', '.join(names)}")
        values[name] = _value(_type_of(cls, name), value, source, f"{path}.{name}" if path else name)
    return cls(**values)


def _type_of(cls: type, name: str) -> type:
    hint = typing.get_type_hints(cls)[name]
    alternatives = [part for part in typing.get_args(hint) if part is not type(None)]
    return typing.cast(type, alternatives[0] if alternatives else hint)


def _value(kind: type, value: object, source: str, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, source, path)
    if issubclass(kind, Enum):
        known = {member.value: member for member in kind}
        if isinstance(value, str) and value in known:
            return known[value]
        expected = f"one of {', '.join(known)}"
    elif kind is bool:
        if isinstance(value, bool):
            return value
        expected = "true or false"
    else:
        accepted = (int, float) if kind is float else (kind,)
        if isinstance(value, accepted) and not isinstance(value, bool):
            return float(typing.cast(float, value)) if kind is float else value
        expected = "a number" if kind is float else "a whole number"
    raise click.UsageError(f"{source}: {path} must be {expected}, got {json.dumps(value)}")
