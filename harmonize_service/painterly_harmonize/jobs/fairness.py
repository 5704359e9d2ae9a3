"""In which order waiting jobs are claimed: principals take turns, and each principal's jobs keep their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from painterly_harmonize.jobs.records import Queue, Running, Waiting


def claim_order(waiting: Iterable[Waiting], last_claims: Mapping[str, float]) -> tuple[Waiting, ...]:
    """The jobs in the order of their turns.

    ``last_claims`` says when a job of each principal was last claimed; who was served longest ago begins each round.
    """
    by_principal: dict[str, list[Waiting]] = defaultdict(list)
    for job in sorted(waiting, key=lambda job: (job.queued_at, job.number)):
        by_principal[job.principal].append(job)
    turns = [
        (turn, last_claims.get(principal, 0.0), job.queued_at, job.number, job)
        for principal, jobs in by_principal.items()
        for turn, job in enumerate(jobs)
    ]
    return tuple(job for *_, job in sorted(turns, key=lambda each: each[:4]))


def position(queue: Queue, index: int) -> int:
    """How many jobs are before the waiting one of that index, beside those that a worker takes at once."""
    idle_count = max(0, queue.worker_count - len(queue.running))
    return max(0, index - idle_count)


def estimated_wait_s(queue: Queue, index: int, now: float) -> float | None:
    """How long the waiting job of that index will wait; None where a job before it has no prediction."""
    before: list[Running | Waiting] = [*queue.running, *queue.waiting[:index]]
    if any(job.predicted_s <= 0 for job in before):
        return None
    running_s = sum(max(0.0, job.predicted_s - (now - job.started_at)) for job in queue.running)
    waiting_s = sum(job.predicted_s for job in queue.waiting[:index])
    return (running_s + waiting_s) / max(1, queue.worker_count)
