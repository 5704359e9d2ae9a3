"""The kinds of jobs: their requests read and checked, and told from one another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly_harmonize.algorithm import pipeline
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.plan import STAGES
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.conversion import (
    StreamOptions,
    params_from_proto,
    stream_options_from_proto,
    to_service_error,
)
from painterly_harmonize.images import Pictures, Request, read_pictures, require_sendable

Compute: TypeAlias = Callable[..., pipeline.Run]

_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")
# How the job is named and shown, but not what it computes.
_ASIDE = frozenset({"job_key", "runs_unattended", "stream"})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A call that begins a job: its request, its part of the pipeline, and the stages of that."""

    request: type[pb.RunPass1Request] | type[pb.RunPass2Request] | type[pb.HarmonizeRequest]
    compute: Compute
    stages: tuple[Stage, ...]
    number: pb.JobKind.ValueType


KINDS: Mapping[str, Kind] = {
    "RunPass1": Kind(
        request=pb.RunPass1Request, compute=pipeline.run_pass1, stages=(Stage.PASS1,), number=pb.JOB_KIND_PASS1
    ),
    "RunPass2": Kind(
        request=pb.RunPass2Request, compute=pipeline.run_pass2, stages=(Stage.PASS2,), number=pb.JOB_KIND_PASS2
    ),
    "Harmonize": Kind(
        request=pb.HarmonizeRequest, compute=pipeline.harmonize, stages=STAGES, number=pb.JOB_KIND_HARMONIZE
    ),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request, read and checked."""

    params: HarmonizeParams
    options: StreamOptions
    pictures: Pictures


def read_order(request: Request) -> Order:
    """Read a request. Raises: ServiceError for all that is wrong with it."""
    params = params_from_proto(request.parameters)
    options = stream_options_from_proto(request.stream)
    try:
        pictures = read_pictures(request)
    except AlgorithmError as error:
        raise to_service_error(error) from None
    require_sendable(pictures.painting, options.result_format)
    return Order(params=params, options=options, pictures=pictures)


def require_job_key(request: Request) -> None:
    """Check how the job is named. Raises: ServiceError FIELD_OUT_OF_RANGE, FIELD_REQUIRED."""
    if request.job_key and not _KEY.fullmatch(request.job_key):
        raise ServiceError(
            reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
            'job_key: must be 1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-"',
            field="job_key",
            metadata={"value": request.job_key[:128]},
        )
    if request.runs_unattended and not request.job_key:
        raise ServiceError(
            reasons.ERROR_REASON_FIELD_REQUIRED,
            "job_key: is needed for a job that runs unattended; name it, or leave runs_unattended out",
            field="job_key",
        )


def digest(request: Request) -> dict[str, str]:
    """What the request asks for: each field that is set, by its path, as text or as a checksum.

    Of ``stream`` only what the result depends on counts.
    """
    found = dict(_digested(request, ""))
    if request.stream.result_format:
        found["stream.result_format"] = str(request.stream.result_format)
    return found


def _digested(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = prefix + field.name
        if path in _ASIDE:
            continue
        if isinstance(value, image_pb2.Image):
            yield path, hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()
        elif isinstance(value, Message):
            yield path, "set"
            yield from _digested(value, f"{path}.")
        else:
            yield path, _text(value)


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 64 else hashlib.sha256(text.encode()).hexdigest()
