"""Whether a stored file is the network it should be, and if not, what it is instead."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from painterly.weights.checksums import InvalidFile, file_checksum, tensor_checksum, tensor_specs
from painterly.weights.errors import WeightsCorrupt, WeightsMissing
from painterly.weights.manifest import Network, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a network lives in a store's folder."""

    directory: Path
    network: Network

    @property
    def file(self) -> Path:
        """The stored file."""
        return self.directory / self.network.file_name

    @property
    def record(self) -> Path:
        """The record of what the stored file was made of."""
        return self.directory / f"{self.network.file_name}.json"

    @property
    def work(self) -> Path:
        """Scratch folder of a running fetch, on the same file system."""
        return self.directory / ".fetch" / self.network.name

    @property
    def lock(self) -> Path:
        """The file whose lock a running fetch holds."""
        return self.directory / ".fetch" / f"{self.network.name}.lock"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a stored file was made of: the source's label, its file's SHA-256, and the stored checksum, in hex."""

    source: str
    source_sha256: str
    checksum: str


def read_record(place: Place) -> Record | None:
    """The record beside the stored file; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        values: Any = json.loads(place.record.read_text(encoding="utf-8"))
        record = Record(**values)
        if all(isinstance(value, str) for value in values.values()):
            return record
    return None


def stored_checksum(path: Path, network: Network) -> str:
    """The checksum by which a network is known, in hex: of its tensors, or of the file where it is stored as it came.

    Raises: InvalidFile when the file is not whole or holds other tensors; FileNotFoundError.
    """
    if not network.tensors:
        return file_checksum(path)
    checksum = tensor_checksum(path)
    found = tensor_specs(path)
    if found != network.tensors:
        raise InvalidFile(_difference(found, network.tensors))
    return checksum


def known_checksums(network: Network) -> frozenset[str]:
    """The stored checksums that the manifest knows in advance."""
    if network.tensors:
        return frozenset(source.tensors_sha256 for source in network.sources if source.tensors_sha256)
    return frozenset(source.sha256 for source in network.sources if source.sha256)


def verified_checksum(place: Place, others: Iterable[Network]) -> str:
    """The checksum of the stored file, which is the network. ``others`` help to say what a wrong file is.

    Raises: WeightsMissing, WeightsCorrupt.
    """
    network = place.network
    try:
        checksum = stored_checksum(place.file, network)
    except FileNotFoundError:
        raise WeightsMissing(network.name, place.file) from None
    except (InvalidFile, OSError) as error:
        raise WeightsCorrupt(network.name, place.file, _with_identity(str(error), place.file, others)) from error
    if checksum in known_checksums(network) | _recorded_checksums(place):
        return checksum
    problem = f"checksum {checksum} is none that is known ({', '.join(_expected(place)) or 'no record beside it'})"
    raise WeightsCorrupt(network.name, place.file, _with_identity(problem, place.file, others))


def identify(path: Path, networks: Iterable[Network]) -> str | None:
    """Say which network's file or source a file is; None where it is neither."""
    try:
        digest = file_checksum(path)
    except OSError:
        return None
    specs: tuple[TensorSpec, ...] = ()
    with contextlib.suppress(InvalidFile):
        specs = tensor_specs(path)
    for network in networks:
        if specs and specs == network.tensors:
            return f"it holds the tensors of {network.name}"
        if any(source.accepts(digest) for source in network.sources):
            return f"it is a source of {network.name}"
    return None


def _recorded_checksums(place: Place) -> frozenset[str]:
    """The checksum recorded at conversion counts only for a source whose tensors the manifest does not know."""
    record = read_record(place)
    trusted = {source.label for source in place.network.sources if place.network.tensors and not source.tensors_sha256}
    return frozenset({record.checksum}) if record is not None and record.source in trusted else frozenset()


def _expected(place: Place) -> list[str]:
    return sorted(known_checksums(place.network) | _recorded_checksums(place))


def _with_identity(problem: str, path: Path, others: Iterable[Network]) -> str:
    identity = identify(path, others)
    return f"{problem}; {identity}" if identity else problem


def _difference(found: tuple[TensorSpec, ...], expected: tuple[TensorSpec, ...]) -> str:
    wrong = sorted({tensor.name for tensor in set(found) ^ set(expected)})
    first = wrong[0]
    return f"its tensors are not the network's: {first} is {_shape(first, found)}, expected {_shape(first, expected)}"


def _shape(name: str, specs: tuple[TensorSpec, ...]) -> str:
    return next((f"{spec.dtype} {list(spec.shape)}" for spec in specs if spec.name == name), "absent")
