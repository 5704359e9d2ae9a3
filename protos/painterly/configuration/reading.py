"""From flags, environment and file to one settings object that knows where each value came from."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from painterly.configuration.fields import Setting, SettingsError, settings_of
from painterly.configuration.server import ServerSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SERVICES = ("preprocess", "harmonize")
FILE_VARIABLE = "PAINTERLY_CONFIG"

_S = TypeVar("_S", bound=ServerSettings)
Given: TypeAlias = "str | bool | int | float"


@dataclass(frozen=True, kw_only=True)
class Configuration(Generic[_S]):
    """Settings that hold, and for each its origin: ``default``, ``file …``, ``environment …`` or ``flag …``."""

    settings: _S
    origins: Mapping[str, str]

    def shown(self) -> Iterator[tuple[str, object, str]]:
        """Name, value and origin of each setting, fit to be printed: what is secret is left out."""
        for name, setting in settings_of(type(self.settings)).items():
            value = getattr(self.settings, name)
            if setting.is_secret:
                value = "(not shown)" if value is not None else None
            yield name, str(value) if isinstance(value, Path) else value, self.origins[name]


def read_configuration(
    cls: type[_S],
    *,
    flags: Mapping[str, str | bool | None],
    environment: Mapping[str, str],
    file: Path | None = None,
) -> Configuration[_S]:
    """Read settings: flags (None: not given) go before the environment, that before the file, that before defaults.

    The file is TOML with a table for each service. Raises: SettingsError with every fault of all settings.
    """
    settings = settings_of(cls)
    table, faults = _read_table(file, cls.service, settings) if file else ({}, [])
    values: dict[str, Any] = {}
    origins = dict.fromkeys(settings, "default")
    for name, setting in settings.items():
        given, origin = _given(setting, flags.get(name), environment.get(setting.variable), table.get(name), file)
        if given is None:
            continue
        origins[name] = origin
        from_file = origin.removeprefix("file ") if origin.startswith("file ") else ""
        try:
            value = setting.parse(given)
        except ValueError as error:
            faults.append(setting.fault(str(error), given, from_file))
            continue
        wrong = setting.check(value, from_file)
        faults += wrong
        if not wrong:
            values[name] = value
    try:
        made = cls(**values)
    except SettingsError as error:
        raise SettingsError([*faults, *error.faults]) from None
    if faults:
        raise SettingsError(faults)
    return Configuration(settings=made, origins=origins)


def _given(
    setting: Setting, flag: str | bool | None, variable: str | None, in_file: Given | None, file: Path | None
) -> tuple[Given | None, str]:
    if flag is not None:
        return flag, f"flag {setting.flag}"
    if variable is not None:
        return variable, f"environment {setting.variable}"
    return in_file, f"file {file}"


def _read_table(file: Path, service: str, settings: Mapping[str, Setting]) -> tuple[dict[str, Given], list[str]]:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        return {}, [f"--config (or {FILE_VARIABLE}) must be a file that can be read, got '{file}': {error.strerror}"]
    except ValueError as error:
        return {}, [f"--config (or {FILE_VARIABLE}) must be a TOML file, got '{file}': {error}"]
    faults = [
        f"{file} must have tables [{'], ['.join(SERVICES)}] alone, got {name!r}"
        for name in content
        if name not in SERVICES
    ]
    table = content.get(service, {})
    if not isinstance(table, dict):
        return {}, [*faults, f"[{service}] in {file} must be a table, got {table!r}"]
    for name, value in table.items():
        if name not in settings:
            near = difflib.get_close_matches(name, settings, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"[{service}] in {file} must hold settings of the service, got {name!r}{hint}")
        elif not isinstance(value, str | bool | int | float):
            faults.append(settings[name].fault("must be a single value", value, str(file)))
    known = {
        name: value for name, value in table.items() if name in settings and isinstance(value, str | bool | int | float)
    }
    return known, faults
