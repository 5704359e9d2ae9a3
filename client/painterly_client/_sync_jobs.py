"""The calls about jobs, blocking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client import _job_conversion as conversion
from painterly_client._base import BaseClient
from painterly_client._jobs import Job, JobPage, JobState, ServerInfo
from painterly_client._sync_stream import EventStream


class JobCalls(BaseClient, ABC):
    """What a client can ask about jobs."""

    def watch_job(self, job_id: str, *, after_cursor: str = "") -> EventStream:
        """Read a job's events, from the first that is kept or from behind a cursor; a parked job goes on.

        Raises, when read: JobNotFound.
        """
        return self._stream("WatchJob", conversion.watch_request(job_id, after_cursor))

    def get_job(self, job_id: str = "", *, job_key: str = "") -> Job:
        """Ask how a job is, by one of its two names. Raises: JobNotFound."""
        return conversion.job_of(self._ask("GetJob", conversion.get_request(job_id, job_key)).job)

    def list_jobs(
        self, *, states: Sequence[JobState] = (), page_size: int | None = None, page_token: str = ""
    ) -> JobPage:
        """Ask for one's own jobs, in any or in the given states, the newest first, 1 to 1000 (or 50) at a time."""
        return conversion.page_of(self._ask("ListJobs", conversion.list_request(states, page_size, page_token)))

    def cancel_job(self, job_id: str) -> Job:
        """Stop a job within one iteration; one that has ended stays as it is. Raises: JobNotFound."""
        request = pb.CancelJobRequest(job_id=conversion.required_id(job_id))
        return conversion.job_of(self._ask("CancelJob", request).job)

    def finish_job(self, job_id: str) -> Job:
        """End the running pass with the picture that it has, and go on to the next stage. Raises: JobNotFound.

        A job that is not in a pass stays as it is.
        """
        request = pb.FinishJobRequest(job_id=conversion.required_id(job_id))
        return conversion.job_of(self._ask("FinishJob", request).job)

    def get_server_info(self) -> ServerInfo:
        """Ask what the harmonize service is, holds and bounds."""
        return conversion.server_info_of(self._ask("GetServerInfo", pb.GetServerInfoRequest()))

    @abstractmethod
    def _stream(self, method: str, request: Message) -> EventStream:
        """Open a stream."""

    @abstractmethod
    def _ask(self, method: str, request: Message) -> Any:
        """Make a unary call of the harmonize service."""
