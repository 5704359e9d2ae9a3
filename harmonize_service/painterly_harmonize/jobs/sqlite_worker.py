"""The part of the SQLite store that workers use. Whoever writes to a job proves his right by the lease's attempt."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from painterly_harmonize.jobs.records import (
    Control,
    Failure,
    Lease,
    NewEvent,
    Place,
    State,
    WorkerRecord,
    WorkerReport,
)
from painterly_harmonize.jobs.sqlite_rows import SqliteBase, one, packed, read_queue, remove, update
from painterly_harmonize.jobs.store import BlobMissing, LeaseLost

# Blobs that vanish between storing and referring are stored again.
_TRIES = 5


class SqliteWorker(SqliteBase):
    """See :class:`~painterly_harmonize.jobs.store.JobStore`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seen: dict[Lease, tuple[object, sqlite3.Row]] = {}
        self._seeing = threading.Lock()

    def claim(self, worker_id: str) -> Lease | None:
        """The right to the next job: one whose lease expired before one that waits."""
        now = self._now()
        with self._database.snapshot() as connection:
            candidate = connection.execute(
                "SELECT 1 FROM jobs WHERE state = 'queued' OR (state = 'running' AND lease_until < ?) LIMIT 1", (now,)
            ).fetchone()
        if candidate is None:
            return None
        with self._database.transaction() as connection:
            row = self._expired(connection, now) or self._next(connection, now)
            if row is None:
                return None
            update(
                connection,
                row["job_id"],
                state=State.RUNNING.value,
                attempt=row["attempt"] + 1,
                lost_count=row["lost_count"] + (row["state"] == State.RUNNING),
                worker_id=worker_id,
                lease_until=now + self._policy.lease_s,
                started_at=row["started_at"] or now,
                resumed_from=None,
                restart_reason="",
            )
            connection.execute("INSERT OR REPLACE INTO principals VALUES (?, ?)", (row["principal"], now))
        return Lease(job_id=row["job_id"], attempt=row["attempt"] + 1, worker_id=worker_id)

    def _expired(self, connection: sqlite3.Connection, now: float) -> sqlite3.Row | None:
        rows = connection.execute(
            "SELECT * FROM jobs WHERE state = 'running' AND lease_until < ? AND is_cancelled = 0 AND lost_count < ?"
            " AND (is_unattended OR watched_until > ?) ORDER BY lease_until LIMIT 1",
            (now, self._policy.attempts - 1, now),
        ).fetchall()
        return rows[0] if rows else None

    def _next(self, connection: sqlite3.Connection, now: float) -> sqlite3.Row | None:
        for waiting in read_queue(connection, now, self._policy.silence_s).waiting:
            row = one(connection, waiting.job_id)
            if row is not None and (row["is_unattended"] or row["watched_until"] > now):
                return row
        return None

    def _own(self, connection: sqlite3.Connection, lease: Lease) -> sqlite3.Row:
        row = one(connection, lease.job_id)
        if row is None or row["state"] != State.RUNNING or row["attempt"] != lease.attempt:
            raise LeaseLost(lease.job_id)
        return row

    def renew(self, lease: Lease) -> None:
        """Keep the right. Raises: LeaseLost."""
        with self._database.transaction(durable=False) as connection:
            self._own(connection, lease)
            connection.execute(
                "UPDATE jobs SET lease_until = ? WHERE job_id = ?",
                (self._now() + self._policy.lease_s, lease.job_id),
            )

    def control(self, lease: Lease) -> Control:
        """What is wished of a running job; cheap while nothing changes. Raises: LeaseLost."""
        mark = self._database.change_mark()
        with self._seeing:
            seen = self._seen.get(lease)
        if seen is None or seen[0] != mark:
            with self._database.snapshot() as connection:
                seen = (mark, self._own(connection, lease))
            with self._seeing:
                self._seen = {lease: seen}
        row = seen[1]
        return Control(
            is_cancelled=bool(row["is_cancelled"]),
            finish_count=row["finish_count"],
            is_watched=bool(row["is_unattended"]) or row["watched_until"] > self._now(),
        )

    def begin(self, lease: Lease, resumed_from: Place | None, restart_reason: str) -> None:
        """Note where a claimed job goes on. Raises: LeaseLost."""
        with self._database.transaction(durable=False) as connection:
            self._own(connection, lease)
            update(connection, lease.job_id, resumed_from=packed(resumed_from), restart_reason=restart_reason)

    def append(self, lease: Lease, event: NewEvent) -> None:
        """Store an event. Raises: LeaseLost."""
        for tries_left in reversed(range(_TRIES)):
            stored = self._stored(event.payload, durable=not event.slot)
            try:
                with self._database.transaction(durable=False) as connection:
                    row = self._own(connection, lease)
                    freed = self._insert_event(connection, lease.job_id, event, stored)
                    place = row["place"] if event.place is None else packed(event.place)
                    connection.execute(
                        "UPDATE jobs SET last_seq = last_seq + 1, place = ? WHERE job_id = ?", (place, lease.job_id)
                    )
            except BlobMissing:
                if not tries_left:
                    raise
            else:
                self.collect([freed])
                return

    def checkpoint(self, lease: Lease, state: bytes, place: Place) -> None:
        """Store a state to go on from, in place of the one before. Raises: LeaseLost."""
        for tries_left in reversed(range(_TRIES)):
            blob = self._blobs.put(state)
            try:
                with self._database.transaction() as connection:
                    old = self._own(connection, lease)["checkpoint_blob"]
                    self._require_blob(blob)
                    update(connection, lease.job_id, checkpoint_blob=blob, checkpoint_place=packed(place))
            except BlobMissing:
                if not tries_left:
                    raise
            except LeaseLost:
                self.collect([blob])
                raise
            else:
                self.collect([old])
                return

    def end(self, lease: Lease, state: State, event: NewEvent | None = None, failure: Failure | None = None) -> None:
        """End a job, together with its last event or its failure. Raises: LeaseLost."""
        for tries_left in reversed(range(_TRIES)):
            stored = (None, None) if event is None else self._stored(event.payload, durable=True)
            try:
                with self._database.transaction() as connection:
                    row = self._own(connection, lease)
                    freed = [row["checkpoint_blob"]]
                    if event is not None:
                        self._insert_event(connection, lease.job_id, event, stored)
                        connection.execute("UPDATE jobs SET last_seq = last_seq + 1 WHERE job_id = ?", (lease.job_id,))
                    update(
                        connection,
                        lease.job_id,
                        state=state.value,
                        ended_at=self._now(),
                        failure=packed(failure),
                        checkpoint_blob=None,
                        checkpoint_place=None,
                    )
                    if not row["job_key"] and row["is_cancelled"] and not row["watched_until"]:
                        freed += remove(connection, lease.job_id)
            except BlobMissing:
                if not tries_left:
                    raise
            else:
                self.collect(freed)
                return

    def release(self, lease: Lease, state: State) -> None:
        """Give a job back unfinished, QUEUED or PARKED. Raises: LeaseLost."""
        with self._database.transaction() as connection:
            self._own(connection, lease)
            update(connection, lease.job_id, state=state.value, worker_id="", lease_until=0.0)

    def report(self, report: WorkerReport) -> None:
        """A worker's sign of life."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?)",
                (report.worker_id, json.dumps(asdict(report)), self._now()),
            )

    def forget_worker(self, worker_id: str) -> None:
        """A worker is gone: its leases expire now."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM workers WHERE worker_id = ?", (worker_id,))
            connection.execute(
                "UPDATE jobs SET lease_until = 0 WHERE worker_id = ? AND state = 'running'", (worker_id,)
            )

    def workers(self) -> Sequence[WorkerRecord]:
        """The workers and when they last gave a sign of life, the last first."""
        with self._database.snapshot() as connection:
            rows = connection.execute("SELECT * FROM workers ORDER BY reported_at DESC").fetchall()
        return [
            WorkerRecord(report=WorkerReport(**json.loads(row["report"])), reported_at=row["reported_at"])
            for row in rows
        ]
