"""The SQLite file of a data folder: schema, transactions, and a cheap look at whether anything has changed.

Several processes of one machine open it at once. Transactions are short, and every writer waits for its turn.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from painterly_harmonize.jobs.store import StoreUnavailable

_BUSY_TIMEOUT_S = 10.0
# Raised when tables change; an older file is then not understood.
_VERSION = 1

_SCHEMA = """
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL UNIQUE,
  principal TEXT NOT NULL,
  job_key TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  is_unattended INTEGER NOT NULL,
  request_blob TEXT NOT NULL,
  digest TEXT NOT NULL,
  predicted_s REAL NOT NULL,
  created_at REAL NOT NULL,
  queued_at REAL NOT NULL,
  started_at REAL,
  ended_at REAL,
  watched_until REAL NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  lost_count INTEGER NOT NULL DEFAULT 0,
  worker_id TEXT NOT NULL DEFAULT '',
  lease_until REAL NOT NULL DEFAULT 0,
  is_cancelled INTEGER NOT NULL DEFAULT 0,
  finish_count INTEGER NOT NULL DEFAULT 0,
  place TEXT,
  checkpoint_blob TEXT,
  checkpoint_place TEXT,
  resumed_from TEXT,
  restart_reason TEXT NOT NULL DEFAULT '',
  failure TEXT,
  last_seq INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (principal, job_key) WHERE job_key != '' AND state != 'expired';
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE INDEX jobs_by_principal ON jobs (principal, number);
CREATE INDEX jobs_by_request ON jobs (request_blob);
CREATE INDEX jobs_by_checkpoint ON jobs (checkpoint_blob);
CREATE TABLE events (
  job_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  slot TEXT NOT NULL,
  slot_number INTEGER NOT NULL,
  payload BLOB,
  blob TEXT,
  PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_slot ON events (job_id, slot) WHERE slot != '';
CREATE INDEX events_by_blob ON events (blob) WHERE blob IS NOT NULL;
CREATE TABLE principals (principal TEXT PRIMARY KEY, claimed_at REAL NOT NULL);
CREATE TABLE workers (worker_id TEXT PRIMARY KEY, report TEXT NOT NULL, reported_at REAL NOT NULL);
"""


class Database:
    """One process's way into the file. Raises: StoreUnavailable where SQLite cannot read or write."""

    def __init__(self, path: Path) -> None:
        with translated():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer, self._reader = _connect(path), _connect(path)
            _create(self._writer)
        # A reader never waits for a writer's disk.
        self._writing, self._reading = threading.RLock(), threading.RLock()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that writes; rolled back on any error. What is not ``durable`` survives processes alone."""
        with self._writing, translated():
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads."""
        with self._reading, translated():
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")

    def change_mark(self) -> int:
        """A number that differs from an earlier one when anybody has written since."""
        with self._reading, translated():
            mark: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return mark

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise StoreUnavailable(f"the job store has version {version}, and {_VERSION} is known here")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLite and the file system cannot do at the moment into StoreUnavailable."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # only a bug
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreUnavailable(str(error)) from error
