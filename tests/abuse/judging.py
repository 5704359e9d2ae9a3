"""What an answer to abuse may be, and what the answering server must look like meanwhile."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from painterly.errors import CODE_OF_REASON, DOMAIN, REQUEST_ID_KEY, STATUS_DETAILS_KEY, read_details
from painterly.v1.error_reason_pb2 import ErrorReason

MAX_TEXT_LENGTH = 1000
"""No text of an error is longer, in characters: whoever shows it to a person must not be flooded."""
_BUGS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
# What gRPC itself answers, without our details: the caller's own deadline, and what is larger than a message may be.
_OF_GRPC = (grpc.StatusCode.DEADLINE_EXCEEDED,)
_LEAK = re.compile(
    r"Traceback|File \"|\bline \d+, in |site-packages|<class '|object at 0x|(?<!\d)0x[0-9a-f]{6}|\.py\b"
    r"|(?<![\w.])/(home|work|usr|tmp|root|etc|var|proc|opt)/"
)
# Of an answer's bytes only what cannot stand there by chance.
_LEAK_IN_BYTES = re.compile(rb"Traceback \(most|site-packages/|/home/[a-z]+/|/work/[a-z]+/|/tmp/[a-z0-9_-]+/")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a call ended: its code and, of an error of ours, its reason; ``faults`` is what is wrong with that."""

    code: grpc.StatusCode
    reason: str = ""
    faults: tuple[str, ...] = ()


def judged_answer(messages: list[bytes]) -> Answer:
    """Judge a call that ended well."""
    faults = [f"bytes of an answer tell {found[0]!r}" for data in messages if (found := _LEAK_IN_BYTES.search(data))]
    if not messages:
        faults.append("no answer at all")
    return Answer(code=grpc.StatusCode.OK, faults=tuple(faults))


def judged_error(error: grpc.RpcError, sent: bytes) -> Answer:
    """Judge a call that failed. What was ``sent`` may be repeated; it tells nothing."""
    details = read_details(error)
    faults = [f"{details.code.name}: {details.message[:300]!r}"] if details.code in _BUGS else []
    if details.code in _OF_GRPC:
        return Answer(code=details.code)
    texts = [details.message, *details.metadata.values(), *(text for pair in details.violations for text in pair)]
    faults += [
        f"the text tells {found[0]!r}: {text[:300]!r}"
        for text in texts
        for found in _LEAK.finditer(text)
        if found[0].encode() not in sent
    ]
    faults += [f"a text of {len(text)} characters" for text in texts if len(text) > MAX_TEXT_LENGTH]
    faults += [f"controls in {text[:300]!r}" for text in texts if not text.isprintable()]
    reason = f"ERROR_REASON_{details.reason}"
    if reason not in ErrorReason.keys():  # noqa: SIM118  (an enum's wrapper is no mapping)
        faults.append(f"{details.code.name} without a known reason: {details.message[:300]!r}")
    elif CODE_OF_REASON[ErrorReason.Value(reason)] is not details.code:
        faults.append(f"{details.reason} came as {details.code.name}")
    trailing: dict[str, str | bytes] = {each.key: each.value for each in error.trailing_metadata() or ()}
    if not trailing.get(REQUEST_ID_KEY) or not details.metadata.get("request_id"):
        faults.append("no request id")
    if DOMAIN.encode() not in (trailing.get(STATUS_DETAILS_KEY) or b""):
        faults.append("not our domain")
    return Answer(code=details.code, reason=details.reason, faults=tuple(faults))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a server's processes hold: memory in bytes, descriptors, threads; and how many processes they are."""

    rss_bytes: int = 0
    descriptor_count: int = 0
    thread_count: int = 0
    process_count: int = 0


def sample(pid: int) -> Sample:
    """Look at a process and its children."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return Sample(
        rss_bytes=sum(each.memory_info().rss for each in family),
        descriptor_count=sum(each.num_fds() for each in family),
        thread_count=sum(each.num_threads() for each in family),
        process_count=len(family),
    )


@dataclass(kw_only=True)
class LogReader:
    """Reads what a server writes to its log, a file."""

    path: Path
    _place: int = field(default=0, init=False)

    def faults(self) -> list[str]:
        """What is wrong in the lines since the last look: tracebacks, and lines that a caller made."""
        with self.path.open("rb") as file:
            file.seek(self._place)
            text = file.read()
            self._place = file.tell()
        lines = text.decode(errors="backslashreplace").split("\n")
        bad = re.compile(r"^(Traceback|.{0,40}\bINJECTED)|[\0-\x08\x0b-\x1f\x7f]|Fatal Python error|double free")
        return [f"log: {line[:300]!r}" for line in lines if bad.search(line)]
