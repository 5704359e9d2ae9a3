"""Settings as options of a command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from painterly.configuration.fields import OneOf, Setting, SettingsError, settings_of
from painterly.configuration.reading import FILE_VARIABLE, Configuration, read_configuration
from painterly.configuration.server import ServerSettings

USAGE_EXIT_CODE = 2

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S", bound=ServerSettings)


def settings_options(cls: type[ServerSettings]) -> Callable[[_F], _F]:
    """One option for each setting that is no secret, and ``--config`` and ``--show-config``; for :func:`configure`."""

    def decorate(function: _F) -> _F:
        function = click.option(
            "--show-config",
            is_flag=False,
            flag_value="text",
            type=click.Choice(["text", "json"]),
            help="Print the settings and where each comes from, and end.",
        )(function)
        function = click.option(
            "--config",
            type=click.Path(path_type=Path),
            envvar=FILE_VARIABLE,
            metavar="FILE.toml",
            help=f"Read settings from the table [{cls.service}] of this file.  [env {FILE_VARIABLE}]",
        )(function)
        for setting in reversed([each for each in settings_of(cls).values() if not each.is_secret]):
            function = _option(cls, setting)(function)
        return function

    return decorate


def _option(cls: type, setting: Setting) -> Callable[[_F], _F]:
    default = setting.default(cls)
    shown = "none" if default is None else str(default).lower() if setting.kind is bool else default
    text = f"{setting.help}  [env {setting.variable}; default {shown}]"
    if setting.kind is bool:
        return click.option(f"{setting.flag}/--no-{setting.flag[2:]}", default=None, help=text)
    metavar = "|".join(setting.rule.choices) if isinstance(setting.rule, OneOf) else None
    return click.option(setting.flag, setting.name, metavar=metavar, help=text)


def configure(cls: type[_S], program: str, options: dict[str, Any]) -> _S:
    """The settings for the options of a command, for the environment and for the file.

    Writes every fault to standard error and exits with code 2; with ``--show-config`` writes them and exits.
    """
    file, shown = options.pop("config"), options.pop("show_config")
    try:
        configuration = read_configuration(cls, flags=options, environment=os.environ, file=file)
    except SettingsError as error:
        fail(program, *error.faults)
    if shown:
        click.echo(_as_json(configuration) if shown == "json" else _as_text(configuration))
        sys.exit(0)
    return configuration.settings


def fail(program: str, *lines: str) -> NoReturn:
    """Write lines to standard error and exit with code 2."""
    for line in lines:
        click.echo(f"{program}: {line}", err=True)
    sys.exit(USAGE_EXIT_CODE)


def _as_json(configuration: Configuration[Any]) -> str:
    settings = {name: {"value": value, "origin": origin} for name, value, origin in configuration.shown()}
    return json.dumps({"service": configuration.settings.service, "settings": settings})


def _as_text(configuration: Configuration[Any]) -> str:
    rows = [(name, _toml(value), origin) for name, value, origin in configuration.shown()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}} = {value:{widths[1]}}  # {origin}" for name, value, origin in rows]
    return "\n".join([f"[{configuration.settings.service}]", *lines])


def _toml(value: object) -> str:
    # None has no spelling in TOML; an empty text reads back as none.
    return '""' if value is None else json.dumps(value)
