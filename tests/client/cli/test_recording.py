"""Frames and losses in bounded memory, and on disk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from painterly_client import Frame, ImageFormat, Progress, Stage
from painterly_client.cli.recording import MAX_SAMPLED_PREVIEWS, FrameFolder, History
from tests.client.cli.kit import PREVIEW


def frame(iteration: int, *, last: bool = False) -> Frame:
    return Frame(stage=Stage.PASS1, iteration=iteration, image=PREVIEW, format=ImageFormat.JPEG, is_stage_result=last)


def test_many_frames_are_thinned_evenly_and_stage_results_stay() -> None:
    history = History()
    for iteration in range(1, 1001):
        history.add_frame(frame(iteration, last=iteration in (333, 1000)))
    iterations = [each.iteration for each in history.frames]
    previews = [each.iteration for each in history.frames if not each.is_stage_result]
    assert iterations == sorted(iterations)
    assert {333, 1000} <= set(iterations)
    assert MAX_SAMPLED_PREVIEWS / 2 <= len(previews) <= MAX_SAMPLED_PREVIEWS
    steps = {later - earlier for earlier, later in itertools.pairwise(previews)}
    assert steps == {16}
    assert history.latest_frame == frame(1000, last=True)


def test_losses_are_kept_by_stage_and_term() -> None:
    history = History()
    for iteration in (1, 2):
        losses = {"content": 10.0 * iteration, "style": 5.0}
        event = Progress(stage=Stage.PASS2, iteration=iteration, iteration_count=2, losses=losses, elapsed_s=1)
        history.add_progress(event)
    assert history.losses == {Stage.PASS2: {"content": [(1, 10.0), (2, 20.0)], "style": [(1, 5.0), (2, 5.0)]}}


def test_a_frame_folder_removes_only_its_own_old_frames() -> None:
    folder = Path("frames")
    folder.mkdir()
    mine = ["holiday.jpg", "0001-pass1-0001.jpg"]
    for name in mine:
        (folder / name).write_bytes(b"mine")
    Path("outside.jpg").write_bytes(b"mine")
    listed = ["../outside.jpg", "holiday.jpg", "0002-pass1-0002.jpg"]
    (folder / "0002-pass1-0002.jpg").write_bytes(b"old frame")
    (folder / "index.json").write_text(json.dumps({"frames": [{"file": name} for name in listed]}))
    FrameFolder(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*mine, "index.json"])
    assert Path("outside.jpg").exists()


def test_a_strange_index_is_no_obstacle() -> None:
    for text in ("", "[1]", '{"frames": 3}', '{"frames": [{"file": 7}]}'):
        Path("index.json").write_text(text)
        folder = FrameFolder(Path())
        folder.add(frame(12))
        folder.write_index()
        assert json.loads(Path("index.json").read_text())["frames"][0]["file"] == "0001-pass1-0012.jpg"
