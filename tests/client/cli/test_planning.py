"""``plan``: what is asked, and how the answer is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from painterly.v1 import harmonize_service_pb2 as pb
from tests.client.cli.kit import one_json, play, run, write_pictures
from tests.client.kit import Harmonize


def plan(**changes: object) -> pb.PlanResponse:
    """A plan that fits."""
    message = pb.PlanResponse(
        fits=True,
        working_width_px=640,
        working_height_px=480,
        stages=[
            pb.StagePlan(
                stage=pb.STAGE_PASS1,
                left_px=10,
                top_px=20,
                width_px=300,
                height_px=200,
                predicted_peak_memory_bytes=700 << 20,
                predicted_duration=Duration(seconds=61),
            )
        ],
        predicted_peak_memory_bytes=700 << 20,
        available_memory_bytes=4 << 30,
        predicted_duration=Duration(seconds=61),
        largest_working_long_side_px=1536,
        device="cpu",
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize("flags", [(), ("--dilated-mask", "dilated.png")])
def test_a_plan_is_told(flags: tuple[str, ...], endpoint: str, harmonize: Harmonize) -> None:
    harmonize.handler = play(plan())
    write_pictures(Path(), "mask.png", "dilated.png")
    outcome = run(
        "plan", "mask.png", *flags, "--preset", "draft", "--memory-policy", "refuse", "--size", "700", "--json"
    )
    assert outcome.exit_code == 0, outcome.stderr
    for line in (
        "the passes run at 640x480 px on cpu",
        "pass1: 300x200 px at 10,20, about 61.0 s, 700 MiB",
        "together: about 61 s, 700 MiB of 4096 MiB",
        "the largest --size that fits: 1536",
    ):
        assert line in outcome.stderr.splitlines()
    told = one_json(outcome.stdout)
    assert told["stages"][0] == {
        "stage": "pass1",
        "left_px": 10,
        "top_px": 20,
        "width_px": 300,
        "height_px": 200,
        "predicted_peak_memory_bytes": 700 << 20,
        "predicted_duration_s": 61.0,
    }
    (request,) = harmonize.requests
    assert request.mask.data == Path("mask.png").read_bytes()
    assert request.HasField("dilated_mask") == bool(flags)
    assert request.parameters == pb.HarmonizeParameters(
        preset=pb.PRESET_DRAFT, working_long_side_px=700, memory_policy=pb.MEMORY_POLICY_REFUSE
    )


def test_what_does_not_fit_is_told_with_the_way_out(endpoint: str, harmonize: Harmonize) -> None:
    write_pictures(Path(), "mask.png")
    harmonize.handler = play(plan(fits=False))
    assert "give --size 1536 or less, or --memory-policy reduce" in run("plan", "mask.png").stderr
    hopeless = plan(fits=False)
    hopeless.ClearField("largest_working_long_side_px")
    harmonize.handler = play(hopeless)
    assert "does not fit at any size: reduce the painting" in run("plan", "mask.png").stderr
    harmonize.handler = play(plan(is_reduced=True))
    assert "640x480 px on cpu, reduced to what fits" in run("plan", "mask.png").stderr


def test_a_mask_that_is_not_there_is_a_usage_error() -> None:
    outcome = run("plan", "nowhere.png")
    assert outcome.exit_code == 2
    assert "nowhere.png" in outcome.stderr
