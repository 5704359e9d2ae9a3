"""What a setting is: its type, what it may be, its names; read off the annotations of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_TRUTHS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


class SettingsError(ValueError):
    """Settings are wrong. ``faults`` holds a line for each that names the setting, its value and the way out."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Rule(Protocol):
    """What a value of the right type must fulfil."""

    @property
    def words(self) -> str:
        """What the value must be: ``must …``."""

    def allows(self, value: Any) -> bool:
        """Whether the value is right."""


@dataclasses.dataclass(frozen=True)
class Between:
    """A number from ``low`` to ``high``, both included."""

    low: float
    high: float

    @property
    def words(self) -> str:
        """The range."""
        return f"must be from {self.low} to {self.high}"

    def allows(self, value: Any) -> bool:
        """Whether the value lies in the range."""
        return bool(self.low <= value <= self.high)


class OneOf:
    """One of a few words, read in upper or lower case."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    @property
    def words(self) -> str:
        """The choices."""
        return f"must be one of {', '.join(self.choices)}"

    def allows(self, value: Any) -> bool:
        """Whether the value is one of the choices."""
        return value in self.choices


@dataclasses.dataclass(frozen=True)
class Matching:
    """Text that a regular expression matches from end to end; ``what`` says so for people: ``a host name``."""

    pattern: str
    what: str

    @property
    def words(self) -> str:
        """What the text is."""
        return f"must be {self.what}"

    def allows(self, value: Any) -> bool:
        """Whether the expression matches."""
        return re.fullmatch(self.pattern, value) is not None


class _ReadableFile:
    words = "must be a file that can be read"

    def allows(self, value: Any) -> bool:
        return Path(value).is_file() and os.access(value, os.R_OK)


class Secret:
    """Marks a setting that has no flag, for everybody on the machine can read those, and whose value is not shown."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """Gives a setting an environment variable of another name."""

    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: a field ``name`` of type ``kind``, with the environment ``variable`` that may give it."""

    name: str
    kind: type
    is_optional: bool
    rule: Rule | None
    help: str
    variable: str
    is_secret: bool

    @property
    def flag(self) -> str:
        """``--queue-size`` for ``queue_size``."""
        return "--" + self.name.replace("_", "-")

    def parse(self, given: str | bool | int | float) -> Any:
        """The value that a flag, a variable or a file gave. Raises: ValueError that says what it must be."""
        text = str(given).strip() if self.kind is not str else str(given)
        if self.is_optional and not text:
            return None
        if isinstance(self.rule, OneOf):
            return next((each for each in self.rule.choices if each.casefold() == text.casefold()), text)
        if self.kind is int and not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise ValueError("must be a whole number")
        if self.kind is float and not _is_finite(text):
            raise ValueError("must be a number")
        if self.kind is bool:
            if text.casefold() not in _TRUTHS:
                raise ValueError("must be true or false")
            return _TRUTHS[text.casefold()]
        return self.kind(text)

    def fault(self, words: str, value: object, origin: str = "") -> str:
        """The line that tells of a wrong value; ``origin`` is the file that gave it."""
        names = self.variable if self.is_secret else f"{self.flag} (or {self.variable})"
        got = "a value that is not shown" if self.is_secret else repr(str(value) if isinstance(value, Path) else value)
        return f"{names} {words}, got {got}" + (f" in {origin}" if origin else "")

    def check(self, value: Any, origin: str = "") -> list[str]:
        """The faults of a value of the right type: none or one."""
        if self.rule is None or (self.is_optional and value is None) or self.rule.allows(value):
            return []
        return [self.fault(self.rule.words, value, origin)]

    def default(self, cls: type) -> Any:
        """What the class gives the field when nobody says otherwise."""
        field = next(each for each in dataclasses.fields(cls) if each.name == self.name)
        made = field.default_factory
        return made() if made is not dataclasses.MISSING else field.default


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def settings_of(cls: type) -> Mapping[str, Setting]:
    """The settings of a dataclass whose class attribute ``service`` names it, by field name, in order."""
    return _settings_of(cls)


@functools.cache
def _settings_of(cls: Any) -> Mapping[str, Setting]:
    hints = typing.get_type_hints(cls, include_extras=True)
    prefix = f"PAINTERLY_{cls.service.upper()}_"
    return {field.name: _setting(field.name, hints[field.name], prefix) for field in dataclasses.fields(cls)}


def _setting(name: str, hint: Any, prefix: str) -> Setting:
    marks = hint.__metadata__
    kinds = typing.get_args(hint.__origin__) or (hint.__origin__,)
    kind = next(each for each in kinds if each is not types.NoneType)
    variables = [mark.name for mark in marks if isinstance(mark, Variable)]
    rules = [mark for mark in marks if isinstance(mark, Between | OneOf | Matching)]
    return Setting(
        name=name,
        kind=kind,
        is_optional=types.NoneType in kinds,
        rule=rules[0] if rules else _ReadableFile() if kind is Path else None,
        help=next(mark for mark in marks if isinstance(mark, str)),
        variable=variables[0] if variables else prefix + name.upper(),
        is_secret=any(mark is Secret for mark in marks),
    )
