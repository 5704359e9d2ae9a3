"""Rows of the SQLite store as records, and what its parts share."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from painterly_harmonize.jobs.fairness import claim_order
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import (
    Failure,
    JobRecord,
    NewEvent,
    Place,
    Queue,
    Running,
    State,
    Waiting,
)
from painterly_harmonize.jobs.sqlite_database import Database
from painterly_harmonize.jobs.store import BlobMissing, BlobStore

# Larger payloads are blobs; smaller ones are quicker inside the database.
_INLINE_BYTES = 256 << 10


class SqliteBase:
    """What the parts of the store share."""

    def __init__(
        self, database: Database, blobs: BlobStore, policy: Policy, now: Callable[[], float] = time.time
    ) -> None:
        self._database, self._blobs, self._policy, self._now = database, blobs, policy, now

    def _require_blob(self, name: str) -> None:
        """Within the transaction that refers to it: only unreferenced blobs are collected, in a transaction as well."""
        if not self._blobs.exists(name):
            raise BlobMissing(name)

    def collect(self, names: Iterable[str | None]) -> None:
        """Remove those blobs that nothing refers to."""
        for name in names:
            if name:
                with self._database.transaction(durable=False) as connection:
                    if not is_referenced(connection, name):
                        self._blobs.delete(name)

    def _stored(self, payload: bytes, *, durable: bool) -> tuple[bytes | None, str | None]:
        """An event's payload as it is stored: within the row or as a blob."""
        if len(payload) <= _INLINE_BYTES:
            return payload, None
        return None, self._blobs.put(payload, durable=durable)

    def _insert_event(
        self, connection: sqlite3.Connection, job_id: str, event: NewEvent, stored: tuple[bytes | None, str | None]
    ) -> str | None:
        """Add an event under the next number; returns the blob that gave way to it."""
        payload, blob = stored
        if blob is not None:
            self._require_blob(blob)
        (seq,) = connection.execute("SELECT last_seq FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        old = None
        if event.slot:
            old = connection.execute(
                "SELECT blob FROM events WHERE job_id = ? AND slot = ?", (job_id, event.slot)
            ).fetchone()
            connection.execute("DELETE FROM events WHERE job_id = ? AND slot = ?", (job_id, event.slot))
        connection.execute(
            "INSERT INTO events (job_id, seq, slot, slot_number, payload, blob) VALUES (?, ?, ?, ?, ?, ?)",
            (job_id, seq + 1, event.slot, event.number, payload, blob),
        )
        return None if old is None else old["blob"]


def update(connection: sqlite3.Connection, job_id: str, **values: object) -> None:
    """Change columns of a job, so that its watchers notice."""
    columns = "".join(f", {name} = ?" for name in values)
    connection.execute(
        f"UPDATE jobs SET revision = revision + 1{columns} WHERE job_id = ?",
        (*values.values(), job_id),
    )


def remove(connection: sqlite3.Connection, job_id: str) -> list[str | None]:
    """Remove a job with all that it has; returns its blobs."""
    blobs = blobs_of(connection, job_id)
    connection.execute("DELETE FROM events WHERE job_id = ?", (job_id,))
    connection.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
    return blobs


def blobs_of(connection: sqlite3.Connection, job_id: str) -> list[str | None]:
    """All blobs that a job refers to."""
    rows = connection.execute(
        "SELECT request_blob AS blob FROM jobs WHERE job_id = :id UNION SELECT checkpoint_blob FROM jobs"
        " WHERE job_id = :id UNION SELECT blob FROM events WHERE job_id = :id",
        {"id": job_id},
    )
    return [row["blob"] for row in rows]


def is_referenced(connection: sqlite3.Connection, blob: str) -> bool:
    """Whether anything refers to a blob."""
    (found,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE request_blob = :blob) OR EXISTS (SELECT 1 FROM jobs WHERE"
        " checkpoint_blob = :blob) OR EXISTS (SELECT 1 FROM events WHERE blob = :blob)",
        {"blob": blob},
    ).fetchone()
    return bool(found)


def read_queue(connection: sqlite3.Connection, now: float, silence_s: float) -> Queue:
    """What waits, in the order of claims, and what runs."""
    rows = connection.execute(
        "SELECT job_id, principal, number, queued_at, started_at, predicted_s, state FROM jobs"
        " WHERE state IN ('queued', 'running') ORDER BY number"
    ).fetchall()
    waiting = [
        Waiting(**{name: row[name] for name in ("job_id", "principal", "number", "queued_at", "predicted_s")})
        for row in rows
        if row["state"] == State.QUEUED
    ]
    running = [
        Running(**{name: row[name] for name in ("job_id", "started_at", "predicted_s")})
        for row in rows
        if row["state"] == State.RUNNING
    ]
    claims = {row["principal"]: row["claimed_at"] for row in connection.execute("SELECT * FROM principals")}
    (workers,) = connection.execute("SELECT COUNT(*) FROM workers WHERE reported_at > ?", (now - silence_s,)).fetchone()
    return Queue(waiting=claim_order(waiting, claims), running=tuple(running), worker_count=workers)


def job_record(row: sqlite3.Row) -> JobRecord:
    """A row of the table of jobs."""
    plain = {name: row[name] for name in _PLAIN}
    return JobRecord(
        **plain,
        state=State(row["state"]),
        is_unattended=bool(row["is_unattended"]),
        is_cancelled=bool(row["is_cancelled"]),
        digest=json.loads(row["digest"]),
        place=_place(row["place"]),
        checkpoint_place=_place(row["checkpoint_place"]),
        resumed_from=_place(row["resumed_from"]),
        failure=None if row["failure"] is None else Failure(**json.loads(row["failure"])),
        has_events=row["last_seq"] > 0,
    )


_PLAIN = [
    "job_id",
    "number",
    "principal",
    "job_key",
    "kind",
    "request_blob",
    "predicted_s",
    "created_at",
    "queued_at",
    "started_at",
    "ended_at",
    "watched_until",
    "attempt",
    "lost_count",
    "finish_count",
    "checkpoint_blob",
    "restart_reason",
]


def packed(value: Place | Failure | None) -> str | None:
    """A small record as a column's text."""
    return None if value is None else json.dumps(asdict(value))


def _place(text: str | None) -> Place | None:
    return None if text is None else Place(**json.loads(text))


def one(connection: sqlite3.Connection, job_id: str) -> sqlite3.Row | None:
    """The row of a job."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    return row


def marks(values: Iterable[Any]) -> str:
    """As many question marks as there are values."""
    return ", ".join("?" for _ in values)
