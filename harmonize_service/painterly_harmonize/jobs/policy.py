"""How long, how often and how much: the bounds that fronts and workers hold to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Bounds of a store's jobs; times in seconds.

    A worker's right to a job lasts ``lease_s`` and is renewed every ``renewal_s``; a job whose worker was lost is tried
    ``attempts`` times in all. A named job without readers is parked after ``orphan_s``; an unnamed one whose front is
    lost ends after ``lease_s``. Results are kept for ``result_retention_s``, what came before them for
    ``event_retention_s``, and all blobs together take at most ``spool_bytes``. ``queue_size`` jobs may wait beside the
    running ones, and ``principal_jobs`` of one authenticated principal wait or run. Requests under way hold at most
    ``request_bytes``. A checkpoint is written every ``checkpoint_s`` and at the end of stages. A job runs at most
    ``run_limit_s``, 0 for ever. A silent stream says so every ``heartbeat_s``. A worker that was silent for
    ``silence_s`` is dead, and started again after the shorter of ``restart_s``, twice as much each time up to the
    longer. Fronts sweep every ``sweep_s``; a stopping server lets a job run on for ``drain_s``.
    """

    lease_s: float = 15.0
    renewal_s: float = 5.0
    attempts: int = 3
    orphan_s: float = 60.0
    result_retention_s: float = 24 * 3600.0
    event_retention_s: float = 3600.0
    spool_bytes: int = 20 << 30
    queue_size: int = 32
    principal_jobs: int = 8
    request_bytes: int = 512 << 20
    checkpoint_s: float = 15.0
    run_limit_s: float = 0.0
    heartbeat_s: float = 10.0
    silence_s: float = 30.0
    restart_s: tuple[float, float] = (1.0, 30.0)
    sweep_s: float = 10.0
    drain_s: float = 30.0
