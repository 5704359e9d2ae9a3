"""What a run of the harmonize service works from and leaves behind: enough to go on with it in another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from painterly_client import Client, EventStream, HarmonizeParameters, ImageFormat, StreamOptions
from painterly_client.cli.files import RESULT_FORMATS, read_input
from painterly_client.cli.parameters import from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a run's files go. ``report``, ``frames`` and ``manifest`` are None when they were not asked for."""

    out: Path
    keep: Path
    report: Path | None
    frames: Path | None
    manifest: Path | None

    @property
    def result_format(self) -> ImageFormat:
        """The format that the result's suffix names."""
        return ImageFormat[RESULT_FORMATS[self.out.suffix.lower()]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run of ``command`` (``harmonize``, ``pass1`` or ``pass2``).

    ``inputs`` are files by the keyword of the client's call; ``shown`` are more files for the report, before them.
    ``extra`` are more keys of the JSON answer. ``again`` is the command that does all of it once more, ``second_pass``
    the one that goes on from a finished first pass; either may be empty.
    """

    command: str
    inputs: Mapping[str, Path]
    parameters: HarmonizeParameters
    stream: StreamOptions
    destination: Destination
    shown: Mapping[str, Path] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    again: str = ""
    second_pass: str = ""

    @property
    def keeps_stages(self) -> bool:
        """Whether the passes' results are kept; a pass that runs alone has its own as result."""
        return self.command == "harmonize"

    def begin(self, client: Client, *, job_key: str = "", runs_unattended: bool = False) -> EventStream:
        """Ask the service for it. Raises: click.UsageError when an input cannot be read any more."""
        calls: dict[str, Callable[..., EventStream]] = {
            "harmonize": client.harmonize,
            "pass1": client.run_pass1,
            "pass2": client.run_pass2,
        }
        return calls[self.command](
            **{name: read_input(name, path) for name, path in self.inputs.items()},
            parameters=self.parameters,
            stream=self.stream,
            job_key=job_key,
            runs_unattended=runs_unattended,
        )

    def pictures(self) -> list[tuple[str, bytes]]:
        """What the report shows as inputs."""
        return [(name, read_input(name, path)) for name, path in {**self.shown, **self.inputs}.items()]


def order_to_json(order: Order) -> dict[str, Any]:
    """An order as JSON values, with absolute paths."""
    place = order.destination
    return {
        "command": order.command,
        "inputs": _paths(order.inputs),
        "parameters": to_json(order.parameters),
        "stream": to_json(order.stream),
        "out": str(place.out.absolute()),
        "keep": str(place.keep.absolute()),
        "report": str(place.report.absolute()) if place.report else None,
        "frames": str(place.frames.absolute()) if place.frames else None,
        "manifest": str(place.manifest.absolute()) if place.manifest else None,
        "shown": _paths(order.shown),
        "extra": dict(order.extra),
        "again": order.again,
        "second_pass": order.second_pass,
    }


def order_from_json(data: Mapping[str, Any], source: str) -> Order:
    """Read an order. ``source`` is named in errors. Raises: KeyError, TypeError, click.UsageError for anything else."""
    if data["command"] not in ("harmonize", "pass1", "pass2"):
        raise KeyError(data["command"])
    return Order(
        command=data["command"],
        inputs={name: Path(path) for name, path in data["inputs"].items()},
        parameters=from_json(HarmonizeParameters, data["parameters"], source, "parameters"),
        stream=from_json(StreamOptions, data["stream"], source, "stream"),
        destination=Destination(
            out=Path(data["out"]),
            keep=Path(data["keep"]),
            report=Path(data["report"]) if data["report"] else None,
            frames=Path(data["frames"]) if data["frames"] else None,
            manifest=Path(data["manifest"]) if data["manifest"] else None,
        ),
        shown={name: Path(path) for name, path in data["shown"].items()},
        extra=data["extra"],
        again=str(data["again"]),
        second_pass=str(data["second_pass"]),
    )


def _paths(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path.absolute()) for name, path in paths.items()}
