"""The call that code runs within: who calls, under which request id, for which job. Free of gRPC."""

from __future__ import annotations

import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

ANONYMOUS = "anonymous"
# What may stand in a log line, a header and an error as it came.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


@dataclass(kw_only=True)
class Call:
    """One call. ``method`` is ``package.Service/Method``; ``code`` is its status by name once it has ended, and
    ``reason`` the short name of its ErrorReason if it was refused.

    ``principal`` is known once the caller has been authenticated, ``job_id`` once there is a job.
    """

    method: str
    request_id: str
    principal: str = ANONYMOUS
    job_id: str = ""
    code: str = ""
    reason: str = ""
    began_s: float = field(default_factory=time.monotonic)

    @property
    def service(self) -> str:
        """The full service name."""
        return self.method.partition("/")[0]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.began_s


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


def begin_call(method: str, given_request_id: object) -> Call:
    """Note that a call begins here; its task, and threads that are given its context, find it again.

    A request id that the caller gave is kept if nothing can be smuggled into a log by it; else one is made.
    """
    is_fit = isinstance(given_request_id, str) and _REQUEST_ID.fullmatch(given_request_id)
    call = Call(method=method, request_id=str(given_request_id) if is_fit else uuid.uuid4().hex)
    _CALL.set(call)
    return call


def current_call() -> Call | None:
    """The call that this code runs within, if any."""
    return _CALL.get()


def principal_of(_context: object) -> str:
    """Who makes the call that this code runs within, as its token or its certificate says; else ``anonymous``."""
    call = _CALL.get()
    return call.principal if call else ANONYMOUS


def note_job(job_id: str) -> None:
    """Say which job the current call is about, for its log lines; what cannot be a job's name is passed over."""
    call = _CALL.get()
    if call and _REQUEST_ID.fullmatch(job_id):
        call.job_id = job_id
