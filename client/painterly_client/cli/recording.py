"""What a stream leaves on disk and in memory: stage results, frames and the history of the losses."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from painterly_client import Frame, Progress, Stage
from painterly_client.cli.files import media_type_and_suffix, write_whole
from painterly_client.cli.session import Session

MAX_SAMPLED_PREVIEWS = 80

# stage -> loss term -> (iteration, value) in order
LossHistory = dict[Stage, dict[str, list[tuple[int, float]]]]


class Keeper:
    """Writes pictures to the folder of kept files the moment they exist; the folder is made when first needed."""

    def __init__(self, directory: Path, session: Session) -> None:
        self._directory = directory
        self.session = session

    def path(self, name: str) -> Path:
        """Where a kept picture is or would be."""
        return self._directory / name

    def keep(self, name: str, data: bytes) -> Path:
        """Write ``data`` as ``name``; its stem is its key in the session."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self.path(name)
        write_whole(path, data)
        self.session.kept[path.stem] = path
        return path


@dataclass(frozen=True, kw_only=True)
class SampledFrame:
    """A picture from along the way. ``number`` counts the stream's frames from 0."""

    number: int
    stage: Stage
    iteration: int
    image: bytes
    is_stage_result: bool


@dataclass
class History:
    """Losses and frames of one stream in bounded memory: when previews get many, every other one goes."""

    losses: LossHistory = field(default_factory=dict)
    latest_frame: Frame | None = None
    _previews: list[SampledFrame] = field(default_factory=list)
    _stage_results: list[SampledFrame] = field(default_factory=list)
    _stride: int = 1
    _frame_count: int = 0

    @property
    def stage_result_count(self) -> int:
        """How many passes have brought their result."""
        return len(self._stage_results)

    @property
    def frames(self) -> list[SampledFrame]:
        """Sampled previews and all stage results, in the order of their arrival."""
        return sorted([*self._previews, *self._stage_results], key=lambda frame: frame.number)

    def add_progress(self, event: Progress) -> None:
        """Note the losses."""
        terms = self.losses.setdefault(event.stage, {})
        for term, value in event.losses.items():
            terms.setdefault(term, []).append((event.iteration, value))

    def add_frame(self, event: Frame) -> None:
        """Note a frame."""
        self.latest_frame = event
        frame = SampledFrame(
            number=self._frame_count,
            stage=event.stage,
            iteration=event.iteration,
            image=event.image,
            is_stage_result=event.is_stage_result,
        )
        self._frame_count += 1
        if event.is_stage_result:
            self._stage_results.append(frame)
        elif frame.number % self._stride == 0:
            self._previews.append(frame)
        if len(self._previews) > MAX_SAMPLED_PREVIEWS:
            self._stride *= 2
            self._previews = [kept for kept in self._previews if kept.number % self._stride == 0]


_OWN_FRAME = re.compile(r"\d{4,}-[a-z0-9]+-\d{4,}\.[a-z]+")


class FrameFolder:
    """A folder that gets every frame as a file, and at the end ``index.json``, which lists them in order.

    The frames that an earlier run's index lists are removed first, or kept and gone on from when this run
    ``continues`` that one; nothing else in the folder is touched.
    """

    def __init__(self, directory: Path, *, continues: bool = False) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        listed = _listed_frames(directory / "index.json")
        self._entries = [dict(entry) for entry in listed] if continues else []
        if not continues:
            for entry in listed:
                (directory / str(entry["file"])).unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """How many frames were written."""
        return len(self._entries)

    def add(self, event: Frame) -> None:
        """Write a frame as ``0007-pass1-0012.jpg``: its number, stage and iteration. The last one is not repeated."""
        stage = event.stage.value
        place = {"stage": stage, "iteration": event.iteration, "is_stage_result": event.is_stage_result}
        if self._entries and {**self._entries[-1], "file": None} == {**place, "file": None}:
            return
        suffix = media_type_and_suffix(event.image)[1]
        name = f"{self.count + 1:04d}-{stage}-{event.iteration:04d}{suffix}"
        write_whole(self.directory / name, event.image)
        self._entries.append({"file": name, **place})

    def write_index(self) -> None:
        """Write ``index.json``."""
        text = json.dumps({"frames": self._entries}, indent=1)
        write_whole(self.directory / "index.json", text.encode())


def _listed_frames(index: Path) -> Sequence[Mapping[str, object]]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        entries = json.loads(index.read_text("utf-8"))["frames"]
        # Only names of our own making are removed, whatever the file says.
        return [entry for entry in entries if _OWN_FRAME.fullmatch(entry["file"])]
    return []
