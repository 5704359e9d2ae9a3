"""What a running command has reached so far: said at the end, and needed most when the command fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click


@dataclass
class Session:
    """One run of one command.

    ``kept`` are the pictures on disk by what they are; ``go_on`` are pairs of a purpose and the command that carries
    on from them; ``logs`` are the log files of services that this command started. ``security`` holds the options for
    servers that speak TLS or want a token, by name.
    """

    json_wanted: bool = False
    quiet: bool = False
    kept: dict[str, Path] = field(default_factory=dict)
    go_on: list[tuple[str, str]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    security: dict[str, str | Path] = field(default_factory=dict, repr=False)

    def say(self, text: str) -> None:
        """Write a line for people to standard error, unless the command is to be quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """Write the command's one JSON object to standard output, when it was asked for."""
        if self.json_wanted:
            click.echo(json.dumps(answer, default=str, allow_nan=False))
