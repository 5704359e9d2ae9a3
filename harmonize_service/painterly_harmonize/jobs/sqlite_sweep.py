"""The part of the SQLite store that keeps it small and its jobs' states true."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from painterly_harmonize.jobs.records import Failure, State
from painterly_harmonize.jobs.sqlite_rows import SqliteBase, blobs_of, is_referenced, packed, remove, update
from painterly_harmonize.jobs.store import StoreFull

# What is left of a job that expired is told for as long again as it was kept.
_TOMBSTONE_SHARE = 2
_FORGOTTEN_WORKER_S = 3600.0


class SqliteSweep(SqliteBase):
    """See :class:`~painterly_harmonize.jobs.store.JobStore`."""

    def sweep(self) -> Sequence[str]:
        """Park or end what nobody listens to, give up what was lost too often, remove what was kept long enough."""
        now = self._now()
        with self._database.snapshot() as connection:
            if not _has_work(connection, now, self._policy.event_retention_s):
                return ()
        freed: list[str | None] = []
        with self._database.transaction() as connection:
            failed = self._give_up(connection, now)
            freed += self._drop_unwatched(connection, now)
            freed += self._drop_old(connection, now)
            connection.execute("DELETE FROM workers WHERE reported_at < ?", (now - _FORGOTTEN_WORKER_S,))
        self.collect(freed)
        return failed

    def _give_up(self, connection: sqlite3.Connection, now: float) -> list[str]:
        attempts, failed = self._policy.attempts, []
        rows = connection.execute(
            "SELECT job_id, lost_count, is_cancelled FROM jobs WHERE state = 'running' AND lease_until < ?"
            " AND (lost_count >= ? OR is_cancelled)",
            (now, attempts - 1),
        ).fetchall()
        for row in rows:
            if row["is_cancelled"]:
                update(connection, row["job_id"], state=State.CANCELLED.value, ended_at=now)
                continue
            failed.append(row["job_id"])
            failure = _lost(row["job_id"], attempts)
            update(connection, row["job_id"], state=State.FAILED.value, ended_at=now, failure=packed(failure))
        return failed

    def _drop_unwatched(self, connection: sqlite3.Connection, now: float) -> list[str | None]:
        """Waiting and abandoned jobs that nobody listens to: named ones are parked, the others removed."""
        connection.execute(
            "UPDATE jobs SET revision = revision + 1, state = 'parked' WHERE job_key != '' AND NOT is_unattended"
            " AND watched_until < :now AND (state = 'queued' OR (state = 'running' AND lease_until < :now))",
            {"now": now},
        )
        rows = connection.execute(
            "SELECT job_id FROM jobs WHERE job_key = '' AND watched_until < ?"
            " AND (state != 'running' OR lease_until < ?)",
            (now, now),
        ).fetchall()
        return [blob for row in rows for blob in remove(connection, row["job_id"])]

    def _drop_old(self, connection: sqlite3.Connection, now: float) -> list[str | None]:
        retention_s = self._policy.result_retention_s
        freed: list[str | None] = []
        for row in connection.execute(
            "SELECT job_id FROM jobs WHERE (ended_at < :old AND state IN ('succeeded', 'failed', 'cancelled'))"
            " OR (state = 'parked' AND watched_until < :old)",
            {"old": now - retention_s},
        ).fetchall():
            freed += _expire(connection, row["job_id"], now)
        for row in connection.execute(
            "SELECT jobs.job_id, last_seq FROM jobs JOIN events ON events.job_id = jobs.job_id AND seq < last_seq"
            " WHERE ended_at < ? AND state = 'succeeded' GROUP BY jobs.job_id",
            (now - self._policy.event_retention_s,),
        ).fetchall():
            old = connection.execute(
                "DELETE FROM events WHERE job_id = ? AND seq < ? RETURNING blob", (row["job_id"], row["last_seq"])
            ).fetchall()
            freed += [event["blob"] for event in old]
        for row in connection.execute(
            "SELECT job_id FROM jobs WHERE state = 'expired' AND ended_at < ?",
            (now - retention_s * _TOMBSTONE_SHARE,),
        ).fetchall():
            freed += remove(connection, row["job_id"])
        return freed

    def make_room(self, byte_count: int) -> None:
        """Remove what is kept of ended jobs, the oldest first, until so many bytes fit. Raises: StoreFull."""
        while self._blobs.total_bytes() + byte_count > self._policy.spool_bytes:
            with self._database.transaction() as connection:
                row = connection.execute(
                    "SELECT job_id FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled')"
                    " ORDER BY ended_at LIMIT 1"
                ).fetchone()
                freed = [] if row is None else _expire(connection, row["job_id"], self._now())
            if row is None:
                raise StoreFull(f"the spool holds {self._policy.spool_bytes} bytes, all of jobs that have not ended")
            self.collect(freed)

    def collect_strays(self) -> None:
        """Remove blobs that nothing refers to, left behind by processes that were killed."""
        for name in list(self._blobs.names()):
            with self._database.snapshot() as connection:
                is_stray = not is_referenced(connection, name)
            if is_stray:
                self.collect([name])


def _has_work(connection: sqlite3.Connection, now: float, retention_s: float) -> bool:
    (found,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE (state IN ('queued', 'running') AND (watched_until < :now OR"
        " lease_until < :now)) OR state = 'parked' OR ended_at < :old OR (job_key = '' AND watched_until < :now))"
        " OR EXISTS (SELECT 1 FROM workers WHERE reported_at < :gone)",
        {"now": now, "old": now - retention_s, "gone": now - _FORGOTTEN_WORKER_S},
    ).fetchone()
    return bool(found)


def _expire(connection: sqlite3.Connection, job_id: str, now: float) -> list[str | None]:
    freed = blobs_of(connection, job_id)
    connection.execute("DELETE FROM events WHERE job_id = ?", (job_id,))
    update(
        connection,
        job_id,
        state=State.EXPIRED.value,
        ended_at=now,
        request_blob="",
        checkpoint_blob=None,
        checkpoint_place=None,
    )
    return freed


def _lost(job_id: str, attempts: int) -> Failure:
    if attempts == 1:
        return Failure(
            reason="WORKER_LOST",
            message="the worker was lost; ask again, and look into the server's log if it happens once more",
            metadata={"job_id": job_id},
        )
    return Failure(
        reason="JOB_ATTEMPTS_EXHAUSTED",
        message=f"the worker was lost {attempts} times with this job; the server's log may say why",
        metadata={"attempts": str(attempts)},
    )
