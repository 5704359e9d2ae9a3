"""``prepare``: many photos, some of which fail."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from tests.client.cli.kit import (
    COMPOSITE,
    DILATED,
    ELEMENT,
    MASK,
    lines_about,
    one_json,
    picture,
    prepare_answer,
    run,
    start,
    write_pictures,
)
from tests.client.kit import Preprocess, free_port, until

BAD = picture("black")


def refusing(field: str = "photo") -> ServiceError:
    text = f"{field} cannot be decoded"
    return ServiceError(error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE, text, field=field)


async def prepare_good(request: pb.PrepareRequest, context: Any) -> pb.PrepareResponse:
    if request.photo.data == BAD:
        raise refusing()
    return prepare_answer()


def test_each_photo_gets_a_folder(endpoint: str, preprocess: Preprocess) -> None:
    Path("other").mkdir()
    photos = [*write_pictures(Path(), "boat.jpg", "gull.png"), *write_pictures(Path("other"), "boat.png")]
    (painting,) = write_pictures(Path(), "painting.png")
    flags = "--jobs 3 --at auto --height 0.3 --kernel 9 --tone-match 1 --method grabcut --json"
    outcome = run("prepare", *photos, painting, "-o", "out", *flags.split())
    assert outcome.exit_code == 0, outcome.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["boat", "boat-2", "gull"]
    expected = {"composite.png": COMPOSITE, "mask.png": MASK, "dilated_mask.png": DILATED, "element.png": ELEMENT}
    for folder in Path("out").iterdir():
        assert {path.name for path in folder.iterdir()} == {*expected, "placement.json"}
        assert {name: (folder / name).read_bytes() for name in expected} == expected
        saved = json.loads((folder / "placement.json").read_text())["placements"]
        assert saved == [
            {
                "center_x_fraction": 0.25,
                "center_y_fraction": 0.5,
                "height_fraction": 0.5,
                "rotation_degrees": 0.0,
                "flip_horizontal": False,
                "flip_vertical": False,
                "is_automatic": False,
            }
        ]
    told = one_json(outcome.stdout)["photos"]
    assert [(each["photo"], each["folder"]) for each in told] == [
        (str(photo), str(Path("out", name))) for photo, name in zip(photos, ("boat", "gull", "boat-2"), strict=True)
    ]
    assert {request.photo.data for request in preprocess.requests} == {photo.read_bytes() for photo in photos}
    for request in preprocess.requests:
        assert request.placement == pb.Placement(is_automatic=True, height_fraction=0.3)
        assert request.compositing.tone_match_strength == 1
        assert request.dilation.kernel_size_px == 9
        assert request.background_removal.method == pb.BACKGROUND_REMOVAL_METHOD_GRABCUT
    assert "prepared 3 of 3 in out" in outcome.stderr


def test_one_bad_photo_does_not_stop_the_rest(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["Prepare"] = prepare_good
    photos = write_pictures(Path(), "a.png", "b.png", "c.png")
    photos[1].write_bytes(BAD)
    (painting,) = write_pictures(Path(), "painting.png")
    outcome = run("prepare", *photos, "missing.jpg", painting, "-o", "out", "--json")
    assert outcome.exit_code == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a", "c"]
    assert "prepared 2 of 4 in out" in outcome.stderr
    failed = lines_about(outcome.stderr, "failed")
    assert failed[0].startswith("b.png: photo cannot be decoded")
    assert failed[1].startswith("missing.jpg: PHOTO missing.jpg cannot be read: No such file")
    told = one_json(outcome.stdout)["photos"]
    assert [each.get("error", {}).get("reason") for each in told] == [None, "IMAGE_UNDECODABLE", None, "UNREADABLE"]


def test_one_photo_alone_has_the_exit_code_of_its_failure(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["Prepare"] = prepare_good
    Path("bad.png").write_bytes(BAD)
    (painting,) = write_pictures(Path(), "painting.png")
    assert run("prepare", "bad.png", painting, "-o", "out").exit_code == 2


def test_inputs_are_not_overwritten(endpoint: str, preprocess: Preprocess) -> None:
    Path("out/boat").mkdir(parents=True)
    (photo,) = write_pictures(Path(), "boat.png")
    (painting,) = write_pictures(Path("out/boat"), "composite.png")
    outcome = run("prepare", photo, painting, "-o", "out")
    assert outcome.exit_code == 2
    assert "lies where the files of boat.png go" in outcome.stderr
    assert preprocess.requests == []


def test_parallelism_is_bounded(endpoint: str, preprocess: Preprocess) -> None:
    running, most = 0, 0

    async def slow(request: Any, context: Any) -> pb.PrepareResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return prepare_answer()

    preprocess.handlers["Prepare"] = slow
    photos = write_pictures(Path(), *(f"{number}.png" for number in range(8)))
    (painting,) = write_pictures(Path(), "painting.png")
    assert run("prepare", *photos, painting, "-o", "out", "--jobs", "3", "--quiet").exit_code == 0
    assert most == 3


def test_a_busy_server_is_asked_again(endpoint: str, preprocess: Preprocess) -> None:
    lock, refused = threading.Lock(), [2]

    async def busy(request: Any, context: Any) -> pb.PrepareResponse:
        with lock:
            refused[0] -= 1
            if refused[0] >= 0:
                raise ServiceError(error_reason_pb2.ERROR_REASON_QUEUE_FULL, "full", retry_after_s=0.02)
        return prepare_answer()

    preprocess.handlers["Prepare"] = busy
    photos = write_pictures(Path(), "a.png", "b.png")
    (painting,) = write_pictures(Path(), "painting.png")
    outcome = run("prepare", *photos, painting, "-o", "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(preprocess.requests) == 4


def test_without_a_server_nothing_is_tried_for_long() -> None:
    photos = write_pictures(Path(), *(f"{number}.png" for number in range(20)))
    (painting,) = write_pictures(Path(), "painting.png")
    endpoint = f"127.0.0.1:{free_port()}"
    outcome = run("prepare", *photos, painting, "-o", "out", "--preprocess-endpoint", endpoint)
    assert outcome.exit_code == 3
    assert "cannot be reached" in outcome.stderr


@pytest.mark.parametrize(("flag", "suffix"), [("webp", ".webp"), ("tiff", ".tif")])
def test_formats(endpoint: str, preprocess: Preprocess, flag: str, suffix: str) -> None:
    photo, painting = write_pictures(Path(), "a.png", "painting.png")
    assert run("prepare", photo, painting, "-o", "out", "--format", flag).exit_code == 0
    names = {path.name for path in Path("out/a").iterdir()}
    assert names >= {f"composite{suffix}", f"element{suffix}", "mask.png", "dilated_mask.png"}
    refused = run("prepare", photo, painting, "-o", "out", "--format", "jpeg")
    assert refused.exit_code == 2
    assert "add --lossy" in refused.stderr


def test_ctrl_c_keeps_what_is_done(endpoint: str, preprocess: Preprocess) -> None:
    answered = threading.Semaphore(2)

    async def handler(request: Any, context: Any) -> pb.PrepareResponse:
        if not answered.acquire(blocking=False):
            await asyncio.sleep(60)
        return prepare_answer()

    preprocess.handlers["Prepare"] = handler
    photos = write_pictures(Path(), *(f"{number}.png" for number in range(6)))
    (painting,) = write_pictures(Path(), "painting.png")
    process = start("prepare", *photos, painting, "-o", "out", "--jobs", "2")
    try:
        until(lambda: len(preprocess.requests) == 4 and len(list(Path("out").glob("*/placement.json"))) == 2, 20)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert lines_about(stderr, "painterly") == ["interrupted"]
    assert "2 of 6 photos are prepared" in stderr
    assert "Traceback" not in stderr
    assert len(list(Path("out").iterdir())) == 2
