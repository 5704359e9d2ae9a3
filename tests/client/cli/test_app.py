"""The command as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from painterly_client.cli.app import cli
from tests.client.cli.kit import run, start


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(cli))


def test_the_commands_are_these() -> None:
    names = {" ".join(path) for path in ALL if len(path) == 1}
    assert names == {
        *("bench", "compose", "dilate", "harmonize", "health", "pass1", "pass2", "plan", "remove-background"),
        *("config", "evaluate", "jobs", "prepare", "replay", "resume", "serve", "suggest", "weights"),
    }
    assert {path[1] for path in ALL if path[0] == "jobs" and len(path) == 2} == {"cancel", "list", "prune", "show"}
    assert {path[1] for path in ALL if path[0] == "serve" and len(path) == 2} == {"all", "harmonize", "preprocess"}
    assert {path[1] for path in ALL if path[0] == "weights" and len(path) == 2} == {"list", "fetch", "verify"}


@pytest.mark.parametrize("path", list(ALL), ids=" ".join)
def test_help_explains_every_option(path: tuple[str, ...]) -> None:
    outcome = run(*path, "--help")
    assert outcome.exit_code == 0
    assert ALL[path].help
    options = [param for param in ALL[path].params if isinstance(param, click.Option)]
    unexplained = [option.name for option in options if not option.help]
    assert unexplained == []
    if len(path) == 1:
        assert f"painterly {path[0]}" in outcome.stdout.partition("Example")[2]


def test_the_module_is_the_command() -> None:
    process = start("--version")
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("painterly, version ")


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("paint").exit_code == 2


def test_the_command_starts_without_what_it_does_not_need() -> None:
    code = "import sys, painterly_client.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "cv2", "requests", "onnxruntime"} & set(loaded)
