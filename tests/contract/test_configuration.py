"""Settings from flags, environment, file and defaults: precedence, faults told together, what is shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
import click.testing
import pytest

from painterly.configuration import (
    Between,
    Configuration,
    OneOf,
    Secret,
    ServerSettings,
    SettingsError,
    Variable,
    configure,
    read_configuration,
    settings_options,
)
from painterly.configuration.server import is_loopback


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """A service of the tests."""

    service: ClassVar[str] = "harmonize"

    port: Annotated[int, Between(0, 65_535), "Port."] = 50052
    share: Annotated[float, Between(0, 1), "A share."] = 0.5
    size: Annotated[str, OneOf("small", "Large"), "A size."] = "small"
    key: Annotated[str | None, Secret, Variable("PAINTERLY_KEY"), "A key."] = None


def read(
    flags: dict[str, Any] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> Configuration[Settings]:
    return read_configuration(Settings, flags=flags or {}, environment=environment or {}, file=file)


def faults(*arguments: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(*arguments)
    return sorted(caught.value.faults)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "painterly.toml"
    path.write_text('[harmonize]\nport = 3\nshare = 0.25\ninsecure = true\nsize = "large"\n[preprocess]\nport = 9\n')
    return path


def test_flags_go_before_the_environment_that_before_the_file_that_before_defaults(file: Path) -> None:
    found = read(
        {"port": "1", "share": None}, {"PAINTERLY_HARMONIZE_PORT": "2", "PAINTERLY_HARMONIZE_SHARE": "1"}, file
    )
    settings = found.settings
    assert (settings.port, settings.share, settings.insecure, settings.size, settings.host) == (
        1,
        1.0,
        True,
        "Large",
        "127.0.0.1",
    )
    assert {name: found.origins[name] for name in ("port", "share", "insecure", "host")} == {
        "port": "flag --port",
        "share": "environment PAINTERLY_HARMONIZE_SHARE",
        "insecure": f"file {file}",
        "host": "default",
    }


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("0", False)])
def test_switches_are_read_in_several_spellings(text: str, value: bool) -> None:
    assert read({}, {"PAINTERLY_HARMONIZE_INSECURE": text}).settings.insecure is value


def test_an_empty_text_takes_an_optional_value_away(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    environment = {"PAINTERLY_HARMONIZE_TOKEN_FILE": str(tmp_path / "tokens")}
    assert read({}, environment).settings.token_file == tmp_path / "tokens"
    assert read({"token_file": ""}, environment).settings.token_file is None


def test_all_faults_of_all_sources_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('[harmonize]\nshare = 2.0\nprot = 1\nsize = [1]\nkey = "x"\n[other]\n')
    environment = {"PAINTERLY_HARMONIZE_INSECURE": "perhaps", "PAINTERLY_HARMONIZE_TLS_KEY": "/nowhere/key.pem"}
    assert faults({"port": "x1", "log_level": "loud", "host": "0.0.0.0"}, environment, file) == [
        "--host (or PAINTERLY_HARMONIZE_HOST) must be of this machine alone, such as 127.0.0.1, unless there is "
        "--tls-certificate, --token-file or, for a network that keeps everybody else out, --insecure, got '0.0.0.0'",
        "--insecure (or PAINTERLY_HARMONIZE_INSECURE) must be true or false, got 'perhaps'",
        "--log-level (or PAINTERLY_HARMONIZE_LOG_LEVEL) must be one of DEBUG, INFO, WARNING, ERROR, got 'loud'",
        "--port (or PAINTERLY_HARMONIZE_PORT) must be a whole number, got 'x1'",
        f"--share (or PAINTERLY_HARMONIZE_SHARE) must be from 0 to 1, got 2.0 in {file}",
        f"--size (or PAINTERLY_HARMONIZE_SIZE) must be a single value, got [1] in {file}",
        "--tls-key (or PAINTERLY_HARMONIZE_TLS_KEY) must be a file that can be read, got '/nowhere/key.pem'",
        f"{file} must have tables [preprocess], [harmonize] alone, got 'other'",
        f"[harmonize] in {file} must hold settings of the service, got 'prot'; did you mean port?",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [(None, "must be a file that can be read"), ("a = ", "must be a TOML file"), ("harmonize = 1", "must be a table")],
)
def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path, text: str | None, fault: str) -> None:
    path = tmp_path / "p.toml"
    if text is not None:
        path.write_text(text)
    (line,) = faults({}, {}, path)
    assert fault in line
    assert str(path) in line


@pytest.mark.parametrize(("value", "words"), [("nan", "must be a number"), ("many", "must be a number")])
def test_numbers_are_numbers(value: str, words: str) -> None:
    assert faults({"share": value}) == [f"--share (or PAINTERLY_HARMONIZE_SHARE) {words}, got '{value}'"]


def test_settings_that_need_each_other(tmp_path: Path) -> None:
    (tmp_path / "some.pem").touch()
    some = str(tmp_path / "some.pem")
    assert faults({"tls_certificate": some})[0].startswith(
        "--tls-certificate (or PAINTERLY_HARMONIZE_TLS_CERTIFICATE) needs --tls-key beside it"
    )
    assert " needs --tls-certificate beside it" in faults({"tls_key": some})[0]
    assert " needs --tls-certificate and --tls-key beside it" in faults({"tls_client_ca": some})[0]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.1", "example.org"])
def test_beyond_this_machine_something_must_keep_strangers_out(host: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    some = str(tmp_path / "file")
    assert "must be of this machine alone" in faults({"host": host})[0]
    for more in ({"insecure": True}, {"token_file": some}, {"tls_certificate": some, "tls_key": some}):
        assert read({"host": host, **more}).settings.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)
    assert read({"host": host}).settings.host == host


@click.command()
@settings_options(Settings)
def command(**options: Any) -> None:
    """Say which settings there are."""
    click.echo(configure(Settings, "program", options))


def test_the_command_shows_values_and_origins_and_no_secret(file: Path) -> None:
    run = click.testing.CliRunner().invoke
    environment = {"PAINTERLY_KEY": "hush", "PAINTERLY_CONFIG": str(file)}
    shown = run(command, ["--show-config", "--port", "7", "--no-insecure"], env=environment)
    assert shown.exit_code == 0
    lines = [[part.strip() for part in line.replace("  # ", " = ").split(" = ")] for line in shown.stdout.splitlines()]
    assert ["port", "7", "flag --port"] in lines
    assert ["insecure", "false", "flag --insecure"] in lines
    assert ["share", "0.25", f"file {file}"] in lines
    assert ["token_file", '""', "default"] in lines
    assert ["key", '"(not shown)"', "environment PAINTERLY_KEY"] in lines
    assert "hush" not in shown.stdout
    as_json = run(command, ["--show-config=json"], env=environment).stdout
    assert json.loads(as_json)["settings"]["port"] == {"value": 3, "origin": f"file {file}"}
    assert "hush" not in as_json


def test_what_is_shown_is_a_file_that_gives_the_same_settings(file: Path, tmp_path: Path) -> None:
    shown = click.testing.CliRunner().invoke(command, ["--show-config", "--config", str(file)])
    again = tmp_path / "again.toml"
    again.write_text(shown.stdout)
    assert read({}, {}, again).settings == read({}, {}, file).settings


def test_the_command_tells_each_fault_in_a_line_and_has_no_flag_for_a_secret() -> None:
    run = click.testing.CliRunner().invoke
    told = run(command, ["--port", "-1", "--share", "2"])
    assert told.exit_code == 2
    assert told.stderr.splitlines() == [
        "program: --port (or PAINTERLY_HARMONIZE_PORT) must be from 0 to 65535, got -1",
        "program: --share (or PAINTERLY_HARMONIZE_SHARE) must be from 0 to 1, got 2.0",
    ]
    assert "No such option '--key'" in run(command, ["--key", "x"]).stderr
    assert "--queue" not in run(command, ["--help"]).stdout
    assert "[env PAINTERLY_HARMONIZE_SHARE; default 0.5]" in " ".join(run(command, ["--help"]).stdout.split())
