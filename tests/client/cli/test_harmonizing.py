"""``harmonize``, ``pass1`` and ``pass2`` against real servers with scripted streams."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2, preprocess_service_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from tests.client.cli.kit import (
    COMPOSITE,
    DILATED,
    ELEMENT,
    MASK,
    PASS1,
    PASS2,
    PREVIEW,
    RESULT,
    WHOLE_RUN,
    lines_about,
    one_json,
    play,
    run,
    write_pictures,
)
from tests.client.kit import Harmonize, Preprocess, free_port

REASONS = error_reason_pb2


@pytest.fixture
def photo_and_painting() -> list[Path]:
    return write_pictures(Path(), "photo.png", "painting.png")


@pytest.fixture
def prepared() -> list[str]:
    write_pictures(Path(), "c.png", "m.png", "d.png", "painting.png")
    return ["--composite", "c.png", "--mask", "m.png", "--dilated-mask", "d.png", "painting.png"]


def kept_bytes(folder: str = "out-work") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_photo_and_a_painting_become_a_result(endpoint: str, photo_and_painting: list[Path]) -> None:
    outcome = run("harmonize", *photo_and_painting, "-o", "new/out.png")
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert Path("new/out.png").read_bytes() == RESULT
    assert kept_bytes("new/out-work") == {
        "composite.png": COMPOSITE,
        "mask.png": MASK,
        "dilated_mask.png": DILATED,
        "element.png": ELEMENT,
        "pass1.png": PASS1,
        "pass2.png": PASS2,
    }
    assert lines_about(outcome.stderr, "result") == ["new/out.png (24 x 18, 321 pixels repainted, 4.0 s on cpu)"]
    level = ["7, estimated: strong colors (+1.5); soft contours (-0.5)"]
    assert lines_about(outcome.stderr, "level") == level
    assert "new/out-work/pass1.png" in lines_about(outcome.stderr, "kept")[0]


def test_what_was_asked_reaches_the_services(
    endpoint: str, preprocess: Preprocess, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    parameters = {"seed": 1, "stylization_level": 2.5, "pass2": {"iteration_count": 9, "ring_radius_cells": 0}}
    parameters |= {"parity": {"binned_histogram": True}}
    Path("p.json").write_text(json.dumps(parameters))
    flags = "--at -0.5,0.75 --height 0.25 --rotate -30 --flip --method grabcut --preset draft --level 8 --network vgg19"
    sizes = "--size 96 --object-size 77 --style-region 0,0.25,0.5,0.75 --min-improvement 0.125"
    more = "--pass1-iterations 5 --pass2-iterations 7 --frame-interval 0.5 --parameters p.json"
    arguments = f"{flags} {sizes} {more}".split()
    outcome = run("harmonize", *photo_and_painting, "-o", "out.webp", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    prepare = preprocess.requests[0]
    assert prepare.photo.data == photo_and_painting[0].read_bytes()
    assert prepare.painting.data == photo_and_painting[1].read_bytes()
    assert prepare.background_removal.method == preprocess_service_pb2.BACKGROUND_REMOVAL_METHOD_GRABCUT
    assert prepare.placement == preprocess_service_pb2.Placement(
        center_x_fraction=-0.5,
        center_y_fraction=0.75,
        height_fraction=0.25,
        rotation_degrees=-30,
        flip_horizontal=True,
    )
    request = harmonize.requests[0]
    images = [request.composite.data, request.mask.data, request.dilated_mask.data, request.painting.data]
    assert images == [COMPOSITE, MASK, DILATED, photo_and_painting[1].read_bytes()]
    # The file says seed 1, level 2.5 and 9 iterations of pass 2; the flags win where they speak.
    assert request.parameters == pb.HarmonizeParameters(
        preset=pb.PRESET_DRAFT,
        network=pb.NETWORK_VGG19,
        stylization_level=8,
        working_long_side_px=96,
        object_size_px=77,
        seed=1,
        pass1=pb.Pass1Parameters(iteration_count=5, min_improvement=0.125),
        pass2=pb.Pass2Parameters(iteration_count=7, ring_radius_cells=0, min_improvement=0.125),
        parity=pb.ParityParameters(binned_histogram=True),
        style_region=pb.StyleRegion(left_fraction=0, top_fraction=0.25, width_fraction=0.5, height_fraction=0.75),
    )
    assert not request.HasField("style_mask")
    assert request.stream.frame_interval.ToMilliseconds() == 500
    assert request.stream.result_format == image_pb2.IMAGE_FORMAT_WEBP


def test_a_place_is_found_and_saved(endpoint: str, preprocess: Preprocess, photo_and_painting: list[Path]) -> None:
    flags = ("--at", "auto", "--linear-light", "--save-placement", "p.json")
    assert run("harmonize", *photo_and_painting, "-o", "out.png", *flags).exit_code == 0
    request = preprocess.requests[0]
    assert request.placement == preprocess_service_pb2.Placement(is_automatic=True)
    assert request.compositing == preprocess_service_pb2.Compositing(linear_light=True)
    assert json.loads(Path("p.json").read_text())["placements"][0]["center_x_fraction"] == 0.25
    refused = run("harmonize", *photo_and_painting, "-o", "out.png", "--save-placement", photo_and_painting[0])
    assert refused.exit_code == 2
    assert "would overwrite PHOTO" in refused.stderr


def test_what_was_not_said_stays_unset(
    endpoint: str, preprocess: Preprocess, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    assert run("harmonize", *photo_and_painting, "-o", "out.png").exit_code == 0
    assert preprocess.requests[0].placement == preprocess_service_pb2.Placement()
    assert not preprocess.requests[0].HasField("compositing")
    assert harmonize.requests[0].parameters == pb.HarmonizeParameters()
    assert not harmonize.requests[0].stream.HasField("frame_interval")


def test_a_style_mask_goes_along_and_stays_in_the_told_command(
    endpoint: str, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    write_pictures(Path(), "style.png")
    error = ServiceError(REASONS.ERROR_REASON_STAGE_FAILED, "pass 2 went wrong", metadata={"stage": "pass2"})
    outcome = failing_run(harmonize, 8, error, *photo_and_painting, "--style-mask", "style.png")
    assert harmonize.requests[0].style_mask.data == Path("style.png").read_bytes()
    told = one_json(outcome.stdout)["go_on"]
    assert all("--style-mask style.png" in command for command in told)


def test_prepared_files_need_no_preprocess_service(
    endpoint: str, preprocess: Preprocess, harmonize: Harmonize, prepared: list[str]
) -> None:
    assert run("harmonize", *prepared, "-o", "out.png").exit_code == 0
    assert preprocess.requests == []
    assert harmonize.requests[0].composite.data == Path("c.png").read_bytes()
    assert harmonize.requests[0].dilated_mask.data == Path("d.png").read_bytes()
    assert set(kept_bytes()) == {"pass1.png", "pass2.png"}


def test_the_answer_is_one_json_object(endpoint: str, photo_and_painting: list[Path]) -> None:
    outcome = run(
        "harmonize", *photo_and_painting, "-o", "out.png", "--frames", "f", "--report", "r.html", "--json", "--quiet"
    )
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    told = one_json(outcome.stdout)
    expected = {
        "result": "out.png",
        "width_px": 24,
        "height_px": 18,
        "changed_pixel_count": 321,
        "working_width_px": 48,
        "working_height_px": 36,
        "painting_noise": 0.125,
        "stylization_level": {
            "value": 7,
            "is_estimated": True,
            "reasons": ["strong colors (+1.5)", "soft contours (-0.5)"],
        },
        "pass2_weights": {"content": 1, "style": 5, "histogram": 0.5, "total_variation": 2},
        "stage_times_s": {"pass1": 1.5, "pass2": 2.5},
        "method_used": "grabcut",
        "frames": "f",
        "frame_count": 3,
        "report": "r.html",
    }
    assert {name: told[name] for name in expected} == expected
    assert told["placement_used"]["center_x_fraction"] == 0.25
    assert told["kept"]["pass2"] == "out-work/pass2.png"
    # What was used can be given back as it is.
    Path("again.json").write_text(json.dumps(told["parameters_used"]))
    again = run("harmonize", *photo_and_painting, "-o", "again.png", "--parameters", "again.json")
    assert again.exit_code == 0, again.stderr


def test_frames_are_files_with_an_index(endpoint: str, photo_and_painting: list[Path]) -> None:
    Path("frames").mkdir()
    Path("frames/mine.jpg").write_bytes(b"mine")
    for _ in range(2):
        assert run("harmonize", *photo_and_painting, "-o", "out.png", "--frames", "frames").exit_code == 0
    names = ["0001-pass1-0001.jpg", "0002-pass1-0004.png", "0003-pass2-0004.png"]
    assert sorted(path.name for path in Path("frames").iterdir()) == [*names, "index.json", "mine.jpg"]
    assert [Path("frames", name).read_bytes() for name in names] == [PREVIEW, PASS1, PASS2]
    index = json.loads(Path("frames/index.json").read_text())["frames"]
    assert [entry["file"] for entry in index] == names
    assert index[1] == {"file": names[1], "stage": "pass1", "iteration": 4, "is_stage_result": True}


def test_each_pass_alone(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    Path("p1.png").write_bytes(PASS1)
    first = run("pass1", *prepared, "-o", "one.png", "--pass1-iterations", "3", "--level", "2")
    second = run("pass2", *prepared, "--pass1", "p1.png", "-o", "two.png", "--pass2-iterations", "4")
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr + second.stderr
    request1, request2 = harmonize.requests
    assert isinstance(request1, pb.RunPass1Request)
    assert request1.parameters.pass1.iteration_count == 3
    assert request1.parameters.stylization_level == 2
    assert request2.pass1_result.data == PASS1
    assert request2.parameters.pass2.iteration_count == 4
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes() == RESULT
    assert not Path("one-work").exists()


def failing_run(harmonize: Harmonize, count: int, error: ServiceError, *arguments: object) -> Result:
    harmonize.handler = play(*WHOLE_RUN[:count], then=error)
    return run(
        "harmonize", *arguments, "-o", "out.png", "--keep", "kept", "--level", "8", "--pass1-iterations", "4", "--json"
    )


def test_after_a_failure_the_files_are_kept_and_the_told_command_goes_on(
    endpoint: str, preprocess: Preprocess, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    error = ServiceError(REASONS.ERROR_REASON_STAGE_FAILED, "pass 2 went wrong", metadata={"stage": "pass2"})
    region = ("--style-region", "0,0.25,0.5,0.75")
    outcome = failing_run(harmonize, 8, error, *photo_and_painting, "--at", "0.2,0.3", "--flip", *region)
    assert outcome.exit_code == 1
    assert lines_about(outcome.stderr, "painterly") == ["pass 2 went wrong"]
    assert not Path("out.png").exists()
    assert kept_bytes("kept")["pass1.png"] == PASS1
    told = one_json(outcome.stdout)
    assert (told["error"]["message"], told["error"]["reason"]) == ("pass 2 went wrong", "STAGE_FAILED")
    assert told["error"]["metadata"]["request_id"]
    assert set(told["kept"]) == {"composite", "mask", "dilated_mask", "element", "pass1"}
    whole, second = told["go_on"]
    assert [whole] == lines_about(outcome.stderr, "go on with")

    harmonize.handler = play(*WHOLE_RUN)
    for command in (whole, second):
        assert run(*shlex.split(command)[1:]).exit_code == 0, command
    assert len(preprocess.requests) == 1
    failed, resumed, pass2 = harmonize.requests
    # The same request under another key: the first one belongs to the job that failed.
    assert failed.job_key != resumed.job_key
    resumed.job_key = failed.job_key
    assert resumed == failed
    assert not list(Path().glob("*.job.json"))
    assert pass2.pass1_result.data == PASS1
    assert (pass2.composite.data, pass2.parameters.stylization_level) == (COMPOSITE, 8)
    assert Path("out.png").read_bytes() == RESULT


def test_before_the_first_pass_ends_the_latest_frame_is_kept(
    endpoint: str, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    error = ServiceError(REASONS.ERROR_REASON_INTERNAL, "a bug")
    outcome = failing_run(harmonize, 5, error, *photo_and_painting, "--frames", "f")
    assert outcome.exit_code == 1
    assert Path("kept/latest-frame.jpg").read_bytes() == PREVIEW
    assert len(one_json(outcome.stdout)["go_on"]) == 1
    assert [entry["iteration"] for entry in json.loads(Path("f/index.json").read_text())["frames"]] == [1]


@pytest.mark.parametrize(
    ("error", "exit_code", "text"),
    [
        (ServiceError(REASONS.ERROR_REASON_MASK_EMPTY, "it is empty", field="mask"), 2, "mask: it is empty"),
        (
            ServiceError(REASONS.ERROR_REASON_WEIGHTS_MISSING, "no vgg16", metadata={"weights": "vgg16"}),
            4,
            "no vgg16; run: painterly weights fetch vgg16",
        ),
        (ServiceError(REASONS.ERROR_REASON_DRAINING, "it stops", retry_after_s=1), 3, "it stops"),
        (ServiceError(REASONS.ERROR_REASON_QUEUE_FULL, "32 wait", metadata={"queue_size": "32"}), 1, "32 wait"),
    ],
)
def test_each_error_has_its_exit_code(
    endpoint: str, harmonize: Harmonize, prepared: list[str], error: ServiceError, exit_code: int, text: str
) -> None:
    harmonize.handler = play(*WHOLE_RUN[:1], then=error)
    outcome = run("harmonize", *prepared, "-o", "out.png", "--quiet")
    assert outcome.exit_code == exit_code
    assert lines_about(outcome.stderr, "painterly") == [text]
    # Nothing was made, so there is nothing to go on from.
    assert "go on" not in outcome.stderr


def test_bad_input_is_not_worth_a_second_try(
    endpoint: str, harmonize: Harmonize, photo_and_painting: list[Path]
) -> None:
    error = ServiceError(REASONS.ERROR_REASON_MASK_FULL, "mask covers all", field="mask")
    outcome = failing_run(harmonize, 1, error, *photo_and_painting)
    assert outcome.exit_code == 2
    assert one_json(outcome.stdout)["go_on"] == []
    assert "kept/composite.png" in lines_about(outcome.stderr, "kept")[0]


def test_a_server_that_is_not_there(prepared: list[str]) -> None:
    where = f"127.0.0.1:{free_port()}"
    outcome = run("harmonize", *prepared, "-o", "out.png", "--harmonize-endpoint", where)
    assert outcome.exit_code == 3
    assert where in outcome.stderr
    assert "painterly serve harmonize" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("photo.png -o out.png", "PHOTO and PAINTING are needed, got 1"),
        ("photo.png painting.png -o out.gif", "out.gif must end in .png"),
        ("photo.png painting.png -o painting.png", "-o painting.png would overwrite PAINTING"),
        ("photo.png painting.png -o ./sub/../photo.png", "would overwrite PHOTO"),
        ("photo.png painting.png -o out.png --report out.png", "--report out.png would overwrite -o"),
        ("photo.png mask.png -o out.png --keep .", "the kept mask.png mask.png would overwrite PAINTING"),
        ("photo.png painting.png -o photo.png/out.png", "cannot be made"),
        ("photo.png painting.png -o out.tif --report r.html", "Name out.png instead"),
        ("photo.png painting.png -o out.png --at 300,200", "must be fractions"),
        ("photo.png painting.png -o out.png --at middle", "is neither two numbers"),
        ("photo.png painting.png -o out.png --level 11", "--level"),
        ("photo.png painting.png -o out.png --style-region 0.5,0,0.6,1", "must lie within the painting"),
        ("photo.png painting.png -o out.png --style-region left", "is not four numbers"),
        ("photo.png painting.png -o mask.png --style-mask mask.png", "would overwrite --style-mask"),
        ("photo.png painting.png -o out.png --composite c.png", "--mask too"),
        ("photo.png painting.png -o out.png --composite c.png --mask m.png", "without PHOTO"),
        ("painting.png -o out.png --composite c.png --mask m.png --height 0.2 --flip", "--height, --flip: "),
        ("painting.png -o c.png --composite c.png --mask m.png", "would overwrite --composite"),
        ("gone.png painting.png -o out.png", "gone.png"),
        ("photo.png painting.png -o out.png --parameters bad.json", "known fields: preset, network"),
    ],
)
def test_a_wrong_command_is_refused_before_any_work(
    endpoint: str, preprocess: Preprocess, harmonize: Harmonize, arguments: str, text: str
) -> None:
    write_pictures(Path(), "photo.png", "painting.png", "mask.png", "c.png", "m.png")
    Path("bad.json").write_text('{"stylisation_level": 5}')
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    outcome = run("harmonize", *arguments.split())
    assert outcome.exit_code == 2
    assert text in " ".join(outcome.stderr.split())
    assert preprocess.requests == harmonize.requests == []
    assert before == {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}


@pytest.mark.parametrize(("name", "note"), [("out.jpg", "JPEG is lossy"), ("out.webp", "lossless"), ("out.png", "")])
def test_a_note_says_what_a_format_keeps(endpoint: str, prepared: list[str], name: str, note: str) -> None:
    notes = lines_about(run("harmonize", *prepared, "-o", name).stderr, "note")
    assert len(notes) == bool(note)
    assert note in "".join(notes)


def test_a_result_that_cannot_be_written_is_saved_elsewhere(
    endpoint: str, harmonize: Harmonize, prepared: list[str]
) -> None:
    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        shutil.rmtree("results")
        Path("results").write_text("no folder any more")
        yield WHOLE_RUN[-1]

    harmonize.handler = handler
    outcome = run("harmonize", *prepared, "-o", "results/out.png", "--keep", "kept")
    assert outcome.exit_code == 1
    saved = lines_about(outcome.stderr, "painterly")[0].rpartition("the result is saved as ")[2]
    assert Path(saved).read_bytes() == RESULT


def test_a_bug_leaves_a_log_and_no_traceback(
    endpoint: str, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Callable[[], None]:
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr("painterly_client.cli.detaching.follow", broken)
    outcome = run("harmonize", *prepared, "-o", "out.png")
    assert outcome.exit_code == 1
    assert lines_about(outcome.stderr, "painterly") == ["this is a bug: ZeroDivisionError: one by none"]
    assert "Traceback" not in outcome.stderr
    assert "Traceback" in Path(lines_about(outcome.stderr, "log")[0]).read_text()
