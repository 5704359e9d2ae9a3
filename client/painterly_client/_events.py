"""What a stream of harmonizing yields: ``Accepted Queued* (Progress | Frame)* Result``, exactly one ``Result``, last.

Heartbeats come wherever nothing else came for a while, and ``Accepted`` once more whenever the job goes on after an
interruption on the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from painterly_client._manifest import Manifest
from painterly_client._quality import QualityReport
from painterly_client._types import HarmonizeParameters, ImageFormat, Stage


class RestartReason(str, Enum):
    """Why a job that was interrupted did not go on where its checkpoint was."""

    NO_CHECKPOINT = "no_checkpoint"
    CHECKPOINT_DAMAGED = "checkpoint_damaged"
    REQUEST_DIFFERS = "request_differs"
    WEIGHTS_DIFFER = "weights_differ"
    VERSION_DIFFERS = "version_differs"


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """How far a checkpoint is: ``iteration`` steps of ``stage`` are done."""

    stage: Stage
    iteration: int


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The server has the job. ``job_id`` names it there; one that is ``named`` outlives its call.

    ``resumed_from`` is where an interrupted job goes on, None for one that begins at its begin; ``restart_reason`` says
    why it does not go on at its checkpoint. ``attempt`` counts how often it was begun, 0 as long as it waits for the
    first time.
    """

    job_id: str
    named: bool
    resumed_from: ResumePoint | None = None
    restart_reason: RestartReason | None = None
    attempt: int = 0


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The job is still there; nothing else was sent for a while."""


@dataclass(frozen=True, kw_only=True)
class Queued:
    """The job waits. ``position`` is the number of jobs before this one; 0 means it starts next.

    ``estimated_wait_s`` is how long it will probably wait; None when the server cannot tell.
    """

    position: int
    estimated_wait_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a stage is.

    ``iteration`` counts finished steps, from 0 (targets are being computed) to ``iteration_count``. ``losses`` holds
    the terms that the stage has, each before its weight, under ``content``, ``style``, ``histogram`` and
    ``total_variation``; it is empty at iteration 0. ``elapsed_s`` runs from when the job left the queue.
    """

    stage: Stage
    iteration: int
    iteration_count: int
    losses: Mapping[str, float]
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The picture after ``iteration`` steps: a preview, or with ``is_stage_result`` the stage's result as PNG."""

    stage: Stage
    iteration: int
    image: bytes = field(repr=False)
    format: ImageFormat
    is_stage_result: bool


@dataclass(frozen=True, kw_only=True)
class StylizationLevel:
    """The level, 1 to 10, that a run used. Where the server estimated it from the painting, ``reasons`` say why."""

    value: float
    is_estimated: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The finished picture, of the painting's size, and how it came about.

    ``parameters_used`` has every field set, so that the run can be repeated. ``stylization_level``
    says where the level came from; None from a server that does not say. ``pass2_weights`` are the weights that the
    level and the painting's noise led to, under the names of the losses; empty where the second pass did
    not run. ``changed_pixel_count`` pixels differ from the painting, ``blend_pixel_count`` lie in the blend's support.
    The passes ran at ``working_width_px`` by ``working_height_px``. ``weights_checksum`` is ``sha256:`` and 64 hex
    digits. ``stage_times_s`` is in the order of the stages. ``quality`` is what the server measured of the picture
    before it encoded it; None from a server that could not. ``manifest`` is what
    it takes to make the same bytes again; None from a server that does not tell.
    """

    image: bytes = field(repr=False)
    format: ImageFormat
    width_px: int
    height_px: int
    parameters_used: HarmonizeParameters
    painting_noise: float
    pass2_weights: Mapping[str, float]
    changed_pixel_count: int
    blend_pixel_count: int
    working_width_px: int
    working_height_px: int
    device: str
    weights_checksum: str
    stage_times_s: Mapping[Stage, float]
    quality: QualityReport | None = None
    stylization_level: StylizationLevel | None = None
    manifest: Manifest | None = None


Event: TypeAlias = Accepted | Queued | Progress | Frame | Heartbeat | Result
