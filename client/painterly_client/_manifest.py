"""Manifests: what a result was made from and with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from painterly_client._types import HarmonizeParameters, Stage


@dataclass(frozen=True, kw_only=True)
class ImageDigest:
    """A picture by its content.

    ``sha256`` is that of the encoded bytes, ``pixels_sha256`` that of the decoded pixels, 64 hex digits each.
    """

    sha256: str
    pixels_sha256: str
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What decides, beside inputs and parameters, which bytes come out.

    ``instructions`` and ``thread_count`` are the CPU's, empty and 0 on other devices. ``versions`` are by name, among
    them ``algorithm``, the sha256 of the sources.
    """

    device: str
    instructions: str
    thread_count: int
    precision: str
    weights_checksum: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that a result was made from and with. ``inputs`` are by the names of the call's arguments.

    ``parameters`` give the same picture again, with the iterations that each pass really had.
    """

    stages: tuple[Stage, ...]
    inputs: Mapping[str, ImageDigest]
    parameters: HarmonizeParameters
    environment: Environment
    output: ImageDigest
