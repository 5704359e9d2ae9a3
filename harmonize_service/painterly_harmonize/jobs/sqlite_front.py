"""The part of the SQLite store that fronts use."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from painterly.calls import ANONYMOUS
from painterly_harmonize.jobs.records import JobRecord, NewJob, Queue, State, StoredEvent
from painterly_harmonize.jobs.sqlite_rows import SqliteBase, job_record, marks, one, read_queue, remove, update
from painterly_harmonize.jobs.store import BadCursor, KeyTaken, PrincipalLimit, QueueFull

# A reader gets at most so many events at a time, and at most one blob.
_BATCH = 64


class SqliteFront(SqliteBase):
    """See :class:`~painterly_harmonize.jobs.store.JobStore`."""

    def change_mark(self) -> object:
        """Something that differs from an earlier one when anything may have changed since."""
        return self._database.change_mark()

    def create(self, job: NewJob) -> JobRecord:
        """Queue a new job. Raises: KeyTaken, QueueFull, PrincipalLimit, BlobMissing."""
        now = self._now()
        with self._database.transaction(durable=bool(job.job_key)) as connection:
            taken = _by_key(connection, job.principal, job.job_key)
            if taken is not None:
                raise KeyTaken(job_record(taken))
            self._admit(connection, job.principal, now)
            self._require_blob(job.request_blob)
            connection.execute(
                "INSERT INTO jobs (job_id, principal, job_key, kind, state, is_unattended, request_blob, digest,"
                " predicted_s, created_at, queued_at, watched_until)"
                " VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.job_id,
                    job.principal,
                    job.job_key,
                    job.kind,
                    job.is_unattended,
                    job.request_blob,
                    json.dumps(dict(job.digest)),
                    job.predicted_s,
                    now,
                    now,
                    job.watched_until,
                ),
            )
            row = one(connection, job.job_id)
            assert row is not None
            return job_record(row)

    def requeue(self, job_id: str) -> JobRecord | None:
        """Queue a parked job again. Raises: QueueFull, PrincipalLimit."""
        with self._database.transaction() as connection:
            row = one(connection, job_id)
            if row is not None and row["state"] == State.PARKED:
                now = self._now()
                self._admit(connection, row["principal"], now)
                update(connection, job_id, state=State.QUEUED.value, queued_at=now)
                row = one(connection, job_id)
            return None if row is None else job_record(row)

    def _admit(self, connection: sqlite3.Connection, principal: str, now: float) -> None:
        queue = read_queue(connection, now, self._policy.silence_s)
        if len(queue.waiting) + len(queue.running) >= self._policy.queue_size + max(1, queue.worker_count):
            raise QueueFull(queue)
        if principal == ANONYMOUS:  # without authentication everybody is
            return
        (count,) = connection.execute(
            "SELECT COUNT(*) FROM jobs WHERE principal = ? AND state IN ('queued', 'running')", (principal,)
        ).fetchone()
        if count >= self._policy.principal_jobs:
            raise PrincipalLimit(queue)

    def get(self, job_id: str) -> JobRecord | None:
        """A job."""
        with self._database.snapshot() as connection:
            row = one(connection, job_id)
        return None if row is None else job_record(row)

    def find(self, principal: str, job_key: str) -> JobRecord | None:
        """The principal's job of that key that has not expired."""
        with self._database.snapshot() as connection:
            row = _by_key(connection, principal, job_key)
        return None if row is None else job_record(row)

    def page(self, principal: str, states: Collection[State], before: int | None, size: int) -> Sequence[JobRecord]:
        """Up to ``size`` jobs of a principal with numbers below ``before``, the newest first."""
        wanted = [state.value for state in states or State]
        with self._database.snapshot() as connection:
            rows = connection.execute(
                f"SELECT * FROM jobs WHERE principal = ? AND state IN ({marks(wanted)}) AND number < ?"
                " ORDER BY number DESC LIMIT ?",
                (principal, *wanted, 1 << 62 if before is None else before, size),
            ).fetchall()
        return [job_record(row) for row in rows]

    def queue(self) -> Queue:
        """What waits and runs."""
        with self._database.snapshot() as connection:
            return read_queue(connection, self._now(), self._policy.silence_s)

    def stamps(self, job_ids: Collection[str]) -> dict[str, object]:
        """For each job something that differs when it or its events have changed."""
        with self._database.snapshot() as connection:
            rows = connection.execute(
                f"SELECT job_id, revision, last_seq FROM jobs WHERE job_id IN ({marks(job_ids)})", tuple(job_ids)
            ).fetchall()
        return {row["job_id"]: (row["revision"], row["last_seq"]) for row in rows}

    def events(self, job_id: str, after: str) -> Sequence[StoredEvent]:
        """The next of the kept events behind a cursor, in order. Raises: BadCursor, BlobMissing."""
        if after and not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise BadCursor(after)
        first = int(after or 0)
        with self._database.snapshot() as connection:
            rows = connection.execute(
                "SELECT * FROM events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?", (job_id, first, _BATCH)
            ).fetchall()
            if not rows and first:
                row = connection.execute("SELECT last_seq FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
                if row is not None and first > row["last_seq"]:
                    raise BadCursor(after)
        found = []
        for row in rows:
            payload = row["payload"] if row["blob"] is None else self._blobs.get(row["blob"])
            found.append(
                StoredEvent(cursor=str(row["seq"]), payload=payload, slot=row["slot"], number=row["slot_number"])
            )
            if row["blob"] is not None:
                break
        return found

    def watch(self, job_ids: Collection[str], until: float) -> None:
        """Note that somebody listens to these jobs until then."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                f"UPDATE jobs SET watched_until = MAX(watched_until, ?) WHERE job_id IN ({marks(job_ids)})",
                (until, *job_ids),
            )

    def leave(self, job_id: str) -> None:
        """The call of an unnamed job has ended: it is stopped, or, where it does not run, removed."""
        blobs = []
        with self._database.transaction(durable=False) as connection:
            row = one(connection, job_id)
            if row is not None and row["state"] == State.RUNNING:
                update(connection, job_id, is_cancelled=1, watched_until=0.0)
            elif row is not None:
                blobs = remove(connection, job_id)
        self.collect(blobs)

    def cancel(self, job_id: str) -> None:
        """Stop a job, at once where it does not run."""
        now = self._now()
        with self._database.transaction() as connection:
            row = one(connection, job_id)
            if row is not None and row["state"] in (State.QUEUED, State.PARKED):
                update(connection, job_id, is_cancelled=1, state=State.CANCELLED.value, ended_at=now)
            elif row is not None and row["state"] == State.RUNNING:
                update(connection, job_id, is_cancelled=1)

    def finish_stage(self, job_id: str) -> None:
        """Wish for the end of the running stage of a running job."""
        with self._database.transaction() as connection:
            row = one(connection, job_id)
            if row is not None and row["state"] == State.RUNNING:
                update(connection, job_id, finish_count=row["finish_count"] + 1)


def _by_key(connection: sqlite3.Connection, principal: str, job_key: str) -> sqlite3.Row | None:
    if not job_key:
        return None
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM jobs WHERE principal = ? AND job_key = ? AND state != 'expired'", (principal, job_key)
    ).fetchone()
    return row
