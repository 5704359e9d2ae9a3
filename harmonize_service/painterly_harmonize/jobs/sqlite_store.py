"""The store of one machine: SQLite in WAL mode and a spool folder, open in several processes at once."""

from __future__ import annotations

from pathlib import Path

from painterly_harmonize.jobs.file_blobs import FileBlobStore
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.sqlite_database import Database
from painterly_harmonize.jobs.sqlite_front import SqliteFront
from painterly_harmonize.jobs.sqlite_sweep import SqliteSweep
from painterly_harmonize.jobs.sqlite_worker import SqliteWorker


class SqliteJobStore(SqliteFront, SqliteWorker, SqliteSweep):
    """Jobs in ``jobs.sqlite3``; see :class:`~painterly_harmonize.jobs.store.JobStore`."""

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def open_folder(folder: Path, policy: Policy) -> tuple[SqliteJobStore, FileBlobStore]:
    """The stores of a data folder, made where there is none. Raises: StoreUnavailable."""
    blobs = FileBlobStore(folder / "spool")
    return SqliteJobStore(Database(folder / "jobs.sqlite3"), blobs, policy), blobs
