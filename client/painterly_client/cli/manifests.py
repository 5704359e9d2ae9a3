"""Manifests as files: what made a result, where its inputs lie, and all that it takes to make it again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from painterly_client import Environment, HarmonizeParameters, ImageDigest, ImageFormat, Manifest, Result, Stage
from painterly_client.cli.exits import BAD_INPUT, CommandFailed
from painterly_client.cli.files import write_whole
from painterly_client.cli.parameters import from_json, to_json

FORMAT = "painterly-manifest/1"


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """A manifest and the files that it speaks of; ``inputs`` by the names of the manifest's inputs."""

    manifest: Manifest
    inputs: Mapping[str, Path]
    result_format: ImageFormat


def write_manifest(path: Path, result: Result, inputs: Mapping[str, Path], out: Path) -> None:
    """Write a result's manifest; ``inputs`` are the files by the names of the call's arguments.

    Files are named as seen from the manifest's folder, so that all may be moved together.
    Raises: CommandFailed for a result without one.
    """
    if result.manifest is None:
        raise CommandFailed("the harmonize service tells no manifest; use one of this version", reason="NO_MANIFEST")

    def seen_from_there(file: Path) -> str:
        return Path(os.path.relpath(file.resolve(), path.resolve().parent)).as_posix()

    manifest = result.manifest
    data = {
        "format": FORMAT,
        "stages": [stage.value for stage in manifest.stages],
        "inputs": {
            name: {"path": seen_from_there(inputs[name]), **to_json(digest)} for name, digest in manifest.inputs.items()
        },
        "output": {"path": seen_from_there(out), "format": result.format.value, **to_json(manifest.output)},
        "parameters": to_json(manifest.parameters),
        "environment": {**to_json(manifest.environment), "versions": dict(manifest.environment.versions)},
    }
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode())


def read_manifest(path: Path) -> ManifestFile:
    """Read a manifest's file. Raises: CommandFailed MANIFEST_INVALID, which names what is wrong with it."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise click.UsageError(f"{path}: is no manifest of the format {FORMAT}")
        return _file_of(data, path)
    except click.UsageError as error:
        raise _invalid(error.message) from None
    except KeyError as error:
        raise _invalid(f"{path}: {error.args[0]} is missing") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _invalid(f"{path} cannot be read as a manifest: {error}") from None


def _file_of(data: Mapping[str, Any], path: Path) -> ManifestFile:
    inputs: dict[str, dict[str, Any]] = {name: dict(each) for name, each in data["inputs"].items()}
    output, environment = dict(data["output"]), dict(data["environment"])
    paths = {name: path.parent / str(each.pop("path")) for name, each in inputs.items()}
    del output["path"]
    result_format = ImageFormat(output.pop("format"))
    versions = {str(name): str(version) for name, version in environment.pop("versions").items()}
    source = str(path)
    manifest = Manifest(
        stages=tuple(Stage(stage) for stage in data["stages"]),
        inputs={name: from_json(ImageDigest, each, source, f"inputs.{name}") for name, each in inputs.items()},
        parameters=from_json(HarmonizeParameters, data["parameters"], source, "parameters"),
        environment=Environment(**environment, versions=versions),
        output=from_json(ImageDigest, output, source, "output"),
    )
    return ManifestFile(manifest=manifest, inputs=paths, result_format=result_format)


def read_inputs(file: ManifestFile) -> dict[str, bytes]:
    """The inputs' bytes. Raises: CommandFailed INPUT_MISSING, INPUT_DIFFERS, which name every file at fault."""
    found: dict[str, bytes] = {}
    missing, differing = [], []
    for name, digest in file.manifest.inputs.items():
        path = file.inputs[name]
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            missing.append(f"{name}: {path} cannot be read: {error.strerror}")
            continue
        sha256 = hashlib.sha256(found[name]).hexdigest()
        if sha256 != digest.sha256:
            differing.append(f"{name}: {path} has the sha256 {sha256[:12]}…, the manifest {digest.sha256[:12]}…")
    if missing:
        raise CommandFailed("; ".join([*missing, *differing]), BAD_INPUT, reason="INPUT_MISSING")
    if differing:
        raise CommandFailed("; ".join(differing), BAD_INPUT, reason="INPUT_DIFFERS")
    return found


def _invalid(message: str) -> CommandFailed:
    return CommandFailed(message, BAD_INPUT, reason="MANIFEST_INVALID")
