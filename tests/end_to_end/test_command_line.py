"""The command line with the real services, in real processes."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.kit import (
    missing_weights,
    painterly,
    processes_with,
    read_pixels,
    service,
    start,
    until,
    write_painting,
    write_photo,
)

pytestmark = pytest.mark.timeout(180)

SMALL = ("--preset", "draft", "--size", "96", "--pass1-iterations", "3", "--pass2-iterations", "3")
ENDLESS = ("--preset", "draft", "--size", "96", "--pass1-iterations", "10000", "--pass2-iterations", "3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_photo(Path("photo.png"))
    write_painting(Path("painting.png"))
    return tmp_path


@pytest.fixture(scope="module")
def preprocess_endpoint() -> Iterator[str]:
    with service("preprocess") as (endpoint, _):
        yield endpoint


@pytest.fixture
def vgg16() -> None:
    reason = missing_weights("vgg16")
    if reason:
        pytest.skip(reason)


def test_the_steps_of_preprocessing(preprocess_endpoint: str) -> None:
    given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint}
    cut = painterly("remove-background", "photo.png", "-o", "element.png", "--json", **given)
    assert cut.returncode == 0, cut.stderr
    assert json.loads(cut.stdout)["method_used"] == "alpha"
    flags = ("--mask-out", "mask.png", "--at", "0.25,0.5", "--height", "0.25")
    composed = painterly("compose", "element.png", "painting.png", "-o", "composite.png", *flags, **given)
    assert composed.returncode == 0, composed.stderr
    assert painterly("dilate", "mask.png", "-o", "dilated.png", "--kernel", "9", **given).returncode == 0
    mask, dilated = read_pixels(Path("mask.png"), "L") > 127, read_pixels(Path("dilated.png"), "L") > 127
    composite, painting = read_pixels(Path("composite.png")), read_pixels(Path("painting.png"))
    # A disk of a quarter of the height, 24 pixels wide, around x = 24, y = 48.
    assert mask.sum() == pytest.approx(np.pi * 12**2, rel=0.1)
    ys, xs = np.nonzero(mask)
    assert (xs.mean(), ys.mean()) == pytest.approx((23.5, 47.5), abs=1)
    assert (composite[:, 60:] == painting[:, 60:]).all()
    assert (composite[mask] != painting[mask]).any(axis=1).mean() > 0.9
    assert (dilated | mask == dilated).all()
    assert dilated.sum() > mask.sum()


def test_a_place_that_was_found_can_be_used_again(preprocess_endpoint: str) -> None:
    given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint}
    common = ("compose", "photo.png", "painting.png", "--mask-out", "mask.png")
    found = painterly(*common, "-o", "one.png", "--at", "auto", "--save-placement", "place.json", **given)
    assert found.returncode == 0, found.stderr
    assert painterly(*common, "-o", "two.png", "--placement", "place.json", **given).returncode == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
    suggested = painterly("suggest", "painting.png", "--element", "photo.png", "--json", **given)
    best = json.loads(suggested.stdout)["suggestions"][0]
    assert [best["placement"]] == json.loads(Path("place.json").read_text())["placements"]
    assert best["reason"] in found.stderr


def test_many_photos_of_which_one_is_bad(preprocess_endpoint: str) -> None:
    given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint}
    Path("bad.png").write_bytes(b"no picture")
    write_photo(Path("other.png"))
    photos = ("photo.png", "bad.png", "other.png")
    outcome = painterly("prepare", *photos, "painting.png", "-o", "out", "--jobs", "3", "--height", "0.3", **given)
    assert outcome.returncode == 1
    assert "prepared 2 of 3 in out" in outcome.stderr
    assert "failed: bad.png: photo cannot be decoded" in outcome.stderr
    one, other = (Path("out", name, "composite.png").read_bytes() for name in ("photo", "other"))
    assert one == other
    assert not Path("out/bad").exists()


def test_a_job_that_does_not_fit_is_told_by_its_plan_and_refused(preprocess_endpoint: str, vgg16: None) -> None:
    with service("harmonize", PAINTERLY_HARMONIZE_MEMORY_LIMIT_MIB="10") as (endpoint, _):
        given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint, "PAINTERLY_HARMONIZE_ENDPOINT": endpoint}
        refused = painterly("harmonize", "photo.png", "painting.png", "-o", "out.png", *SMALL, **given)
        planned = painterly("plan", "out-work/mask.png", *SMALL, "--json", **given)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["fits"], plan["working_width_px"]) == (False, 96)
    assert plan["predicted_peak_memory_bytes"] > plan["available_memory_bytes"] == 10 << 20
    assert refused.returncode not in (0, 2)
    assert f"would take {plan['predicted_peak_memory_bytes'] >> 20} MiB of cpu, which has 10 MiB" in refused.stderr
    assert not Path("out.png").exists()


def test_a_picture_of_any_origin_is_evaluated_without_weights(folder: Path) -> None:
    painting = read_pixels(Path("painting.png"))
    composite, mask = painting.copy(), np.zeros(painting.shape[:2], dtype=np.uint8)
    composite[30:60, 30:60], mask[30:60, 30:60] = (250, 20, 20), 255
    Image.fromarray(composite).save("composite.png")
    Image.fromarray(mask).save("mask.png")
    files = ("painting.png", "painting.png", "--composite", "composite.png", "--mask", "mask.png")
    outcome = painterly("evaluate", *files, "--json", PAINTERLY_WEIGHTS_DIR=str(folder / "no weights"))
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    assert (told["after"]["background_changed_pixel_count"], told["after"]["seam_ratio"]) == (0, 1.0)
    assert told["before"]["painting"]["lab_mean_distance"] > 3 * told["after"]["painting"]["lab_mean_distance"]
    assert told["object_area"] == pytest.approx(900 / mask.size)
    assert "1 or less is best" in outcome.stderr


def test_a_bad_photo_is_bad_input(preprocess_endpoint: str) -> None:
    Path("photo.png").write_bytes(b"no picture at all")
    outcome = painterly("remove-background", "photo.png", "-o", "out.png", "--preprocess-endpoint", preprocess_endpoint)
    assert outcome.returncode == 2
    assert "photo" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not Path("out.png").exists()


def test_missing_weights_are_named_with_the_way_out(preprocess_endpoint: str, folder: Path) -> None:
    store = {"PAINTERLY_WEIGHTS_DIR": str(folder / "no weights")}
    outcome = painterly(
        *("harmonize", "photo.png", "painting.png", "-o", "out.png", *SMALL, "--json"),
        PAINTERLY_PREPROCESS_ENDPOINT=preprocess_endpoint,
        **store,
    )
    assert outcome.returncode == 4, outcome.stderr
    assert "painterly weights fetch vgg16" in outcome.stderr
    told = json.loads(outcome.stdout)
    assert told["error"]["reason"] == "WEIGHTS_MISSING"
    assert Path(told["kept"]["composite"]).exists()


@pytest.mark.slow
def test_both_services_under_one_roof() -> None:
    process = start("serve", "all", "--preprocess-port", "0", "--harmonize-port", "0")
    assert process.stdout
    try:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        ports = {line["service"]: line["port"] for line in lines}
        asked = [f"--{name}-endpoint=127.0.0.1:{port}" for name, port in ports.items()]
        healthy = painterly("health", *asked, "--json")
        assert healthy.returncode == 0, healthy.stderr
        assert json.loads(healthy.stdout)["serving"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert set(ports) == {"preprocess", "harmonize"}
    assert process.returncode == 0
    assert painterly("health", *asked).returncode == 1


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("vgg16")
def test_embedded_services_turn_a_photo_and_a_painting_into_a_result(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    outputs = ("-o", "out.png", "--frames", "frames", "--frame-interval", "0", "--report", "report.html", "--json")
    outcome = painterly("harmonize", "photo.png", "painting.png", *outputs, *SMALL, TMPDIR=str(temporary))
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    assert (told["method_used"], told["device"]) == ("alpha", "cpu")
    assert told["parameters_used"]["pass1"]["iteration_count"] == 3
    level = told["stylization_level"]
    assert level["is_estimated"]
    assert 1 <= level["value"] == told["parameters_used"]["stylization_level"] <= 10
    assert 1 <= len(level["reasons"]) <= 3
    result, painting = read_pixels(Path("out.png")), read_pixels(Path("painting.png"))
    changed = (result != painting).any(axis=2)
    assert changed.sum() == told["changed_pixel_count"] > 0
    # The painting's pixels come back as they were, away from the thing.
    assert not changed[:8].any()
    index = json.loads(Path("frames/index.json").read_text())["frames"]
    results = [entry["file"] for entry in index if entry["is_stage_result"]]
    assert [name.partition("-")[2] for name in results] == ["pass1-0003.png", "pass2-0003.png"]
    assert all(Path("frames", entry["file"]).exists() for entry in index)
    assert Path("frames", results[0]).read_bytes() == Path("out-work/pass1.png").read_bytes()
    assert Path("report.html").stat().st_size > Path("out.png").stat().st_size
    assert list(temporary.glob("painterly-*")) == []


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("vgg16")
def test_services_in_other_processes_give_the_same_as_step_by_step(preprocess_endpoint: str) -> None:
    with service("harmonize") as (endpoint, _):
        given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint, "PAINTERLY_HARMONIZE_ENDPOINT": endpoint}
        whole = painterly("harmonize", "photo.png", "painting.png", "-o", "out.png", *SMALL, **given)
        assert whole.returncode == 0, whole.stderr
        files = [f"--{name.replace('_', '-')}=out-work/{name}.png" for name in ("composite", "mask", "dilated_mask")]
        again = painterly("harmonize", *files, "painting.png", "-o", "again.png", *SMALL, **given)
        assert again.returncode == 0, again.stderr
        assert (read_pixels(Path("again.png")) == read_pixels(Path("out.png"))).all()
        first = painterly("pass1", *files, "painting.png", "-o", "one.png", *SMALL[:-2], **given)
        assert first.returncode == 0, first.stderr
        assert (read_pixels(Path("one.png")) == read_pixels(Path("out-work/pass1.png"))).all()
        flags = ("--pass1", "one.png", "-o", "two.png", *SMALL[:4], *SMALL[-2:])
        second = painterly("pass2", *files, "painting.png", *flags, **given)
        assert second.returncode == 0, second.stderr
        # The second pass starts from eight bits per color here.
        difference = read_pixels(Path("two.png")).astype(int) - read_pixels(Path("out-work/pass2.png"))
        assert np.abs(difference).mean() < 2


@pytest.mark.weights
@pytest.mark.usefixtures("vgg16")
def test_ctrl_c_stops_and_keeps_the_latest_frame(preprocess_endpoint: str) -> None:
    flags = ("-o", "out.png", *ENDLESS, "--frames", "frames", "--frame-interval", "0")
    process = start("harmonize", "photo.png", "painting.png", *flags, PAINTERLY_PREPROCESS_ENDPOINT=preprocess_endpoint)
    try:
        until(lambda: len(list(Path("frames").glob("*-pass1-*.jpg"))) >= 2)
        # As a terminal does it: to the whole process group.
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "painterly: interrupted" in stderr
    assert "Traceback" not in stderr
    assert read_pixels(Path("out-work/latest-frame.jpg")).shape == (96, 96, 3)
    assert "go on with: painterly harmonize --composite out-work/composite.png" in stderr
    assert not Path("out.png").exists()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("vgg16")
def test_a_killed_harmonize_service_loses_nothing_that_was_done(preprocess_endpoint: str) -> None:
    iterations = ("--preset", "draft", "--size", "96", "--pass1-iterations", "2", "--pass2-iterations", "10000")
    with service("harmonize") as (endpoint, server):
        given = {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess_endpoint, "PAINTERLY_HARMONIZE_ENDPOINT": endpoint}
        flags = ("-o", "out.png", *iterations, "--give-up-after", "2")
        process = start("harmonize", "photo.png", "painting.png", *flags, **given)
        try:
            until(Path("out-work/pass1.png").exists)
            server.kill()
            _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 3, stderr
    commands = [line.partition(": ")[2] for line in stderr.splitlines() if ": painterly " in line]
    assert [command.split()[1] for command in commands] == ["resume", "jobs", "harmonize", "pass2"]
    kept = next(line for line in stderr.splitlines() if line.startswith("kept: "))
    for name in ("composite", "mask", "dilated_mask", "element", "pass1"):
        assert f"out-work/{name}.png" in kept
    # The told command works as it stands, on a new server and with fewer iterations.
    told = [argument.replace("10000", "2") for argument in shlex.split(commands[-1])[1:]]
    resumed = painterly(*told)
    assert resumed.returncode == 0, resumed.stderr
    assert read_pixels(Path("out.png")).shape == (96, 96, 3)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("vgg16")
def test_embedded_services_end_when_the_command_is_killed(tmp_path: Path) -> None:
    flags = ("-o", "out.png", *ENDLESS, "--frames", "frames", "--frame-interval", "0")
    process = start("harmonize", "photo.png", "painting.png", *flags, PAINTERLY_TEST_MARK=str(tmp_path))
    try:
        until(lambda: len(list(Path("frames").glob("*-pass1-*.jpg"))) >= 1)
        # The command, either service, and the harmonize service's worker.
        assert len(processes_with(str(tmp_path))) == 4
    finally:
        process.kill()
        process.communicate()
    until(lambda: not processes_with(str(tmp_path)), 30)
