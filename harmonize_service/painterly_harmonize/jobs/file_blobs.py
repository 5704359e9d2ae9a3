"""Blobs as files of one folder, each named by the sha256 of its content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from painterly_harmonize.jobs.sqlite_database import translated
from painterly_harmonize.jobs.store import BlobMissing

_NAME = re.compile(r"[0-9a-f]{64}")


class FileBlobStore:
    """A spool folder. A file appears under its name only when it is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with translated():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, data: bytes, *, durable: bool = True) -> str:
        """Store bytes; returns their name. Raises: StoreUnavailable."""
        name = hashlib.sha256(data).hexdigest()
        path = self._folder / name
        with translated():
            if path.exists():
                return name
            temporary = self._folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                temporary.rename(path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    temporary.unlink()
            if durable:
                _sync_folder(self._folder)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a name. Raises: BlobMissing, StoreUnavailable."""
        with translated():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                raise BlobMissing(name) from None

    def exists(self, name: str) -> bool:
        """Whether there are bytes of that name."""
        return (self._folder / name).exists()

    def delete(self, name: str) -> None:
        """Remove bytes; nothing happens where there are none."""
        with translated():
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """All names."""
        with translated():
            yield from (path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def total_bytes(self) -> int:
        """How much space all blobs take."""
        total = 0
        with translated(), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
        return total


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
