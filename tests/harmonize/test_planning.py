"""Plans over the wire, what becomes of a job that does not fit, and a stage that runs out of memory."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch

from painterly.errors import ServiceError, read_details
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize import planning
from painterly_harmonize.algorithm.params import HarmonizeParams, MemoryPolicy, NetworkName
from painterly_harmonize.algorithm.plan import Work
from painterly_harmonize.algorithm.vgg import sketch_network
from painterly_harmonize.planning import DeviceSpeed, Planner, available_bytes
from tests.harmonize.algorithm.toy import rectangle_mask
from tests.harmonize.toy import HEIGHT_PX, WIDTH_PX, failure, networks_of, png, request, running, scene, toy_network

CPU = torch.device("cpu")
MASK = rectangle_mask(600, 800, (100, 400), (200, 500))
# What planning takes for granted, before any picture: a plan of toy pictures is little more than this.
PLENTY, LITTLE = 1 << 40, 1 << 20


def plan_request(**parameters: Any) -> pb.PlanRequest:
    return pb.PlanRequest(mask=png(scene().mask), parameters=pb.HarmonizeParameters(**parameters))


async def test_a_plan_comes_over_the_wire() -> None:
    async with running(memory_bytes=PLENTY) as service:
        plan = await service.stub.Plan(plan_request(working_long_side_px=70))
    assert plan.fits
    assert not plan.is_reduced
    assert (plan.working_width_px, plan.working_height_px) == (70, 70 * HEIGHT_PX // WIDTH_PX)
    assert [stage.stage for stage in plan.stages] == [pb.STAGE_PASS1, pb.STAGE_PASS2, pb.STAGE_POSTPROCESSING]
    assert plan.predicted_peak_memory_bytes == max(stage.predicted_peak_memory_bytes for stage in plan.stages)
    total_s = plan.predicted_duration.ToNanoseconds() / 1e9
    assert total_s == pytest.approx(sum(stage.predicted_duration.ToNanoseconds() for stage in plan.stages) / 1e9)
    assert 0 < plan.available_memory_bytes < PLENTY
    assert plan.largest_working_long_side_px == 70
    assert plan.device == "cpu"
    assert plan.parameters_used.working_long_side_px == 70
    assert plan.parameters_used.memory_policy == pb.MEMORY_POLICY_REFUSE
    box = plan.stages[0]
    # The object's box of 24×20 px at 24,20, reduced and grown.
    assert box.left_px < 21 < 42 < box.left_px + box.width_px
    assert box.top_px < 18 < 35 < box.top_px + box.height_px


async def test_a_plan_waits_for_no_job() -> None:
    async with running(memory_bytes=PLENTY) as service:
        call = service.stub.Harmonize(request(pb.HarmonizeRequest, 10_000))
        async for event in call:
            if event.HasField("frame"):
                break
        plan = await service.stub.Plan(plan_request(), timeout=20)
        assert plan.fits
        assert not service.idle
        call.cancel()


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"mask": png(scene().mask & False)}, "MASK_EMPTY", "mask"),
        ({"mask": png(scene().mask | True)}, "MASK_FULL", "mask"),
        ({"dilated_mask": png(scene(96, 64).mask)}, "IMAGE_SIZE_MISMATCH", "dilated_mask"),
        ({"dilated_mask": png(scene().mask & False)}, "MASK_NOT_CONTAINED", "dilated_mask"),
        (
            {"parameters": pb.HarmonizeParameters.FromString(b"\x58\x4d")},
            "UNKNOWN_ENUM_VALUE",
            "parameters.memory_policy",
        ),
        (
            {"parameters": pb.HarmonizeParameters(stylization_level=11)},
            "FIELD_OUT_OF_RANGE",
            "parameters.stylization_level",
        ),
    ],
)
async def test_a_bad_plan_request_is_refused(change: dict[str, Any], reason: str, field: str) -> None:
    message = plan_request()
    for name, value in change.items():
        getattr(message, name).CopyFrom(value)
    async with running() as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.stub.Plan(message)
        details = read_details(caught.value)
    assert (details.reason, details.metadata["field"]) == (reason, field)


async def test_a_request_without_a_mask_is_refused() -> None:
    async with running() as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.stub.Plan(pb.PlanRequest())
    assert read_details(caught.value).metadata["field"] == "mask"


async def test_a_job_that_does_not_fit_is_refused_before_anything_is_computed() -> None:
    network = toy_network()
    async with running(networks_of(network), memory_bytes=LITTLE) as service:
        details = await failure(service.stub.Harmonize(request(pb.HarmonizeRequest)))
        plan = await service.stub.Plan(plan_request(working_long_side_px=2048))
    assert network.call_count == 0
    assert (details.code, details.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DEVICE_OUT_OF_MEMORY")
    assert details.metadata["device"] == "cpu"
    assert details.metadata["available_bytes"] == str(LITTLE)
    assert int(details.metadata["predicted_bytes"]) > LITTLE
    assert "80x64 pixels" in details.message
    assert "reduce the painting" in details.message
    assert not plan.fits
    assert not plan.HasField("largest_working_long_side_px")


def needed(long_side: int) -> int:
    params = HarmonizeParams(working_long_side_px=long_side, object_size_px=None)
    return Planner(CPU).decide(MASK, None, params, sketch_network(NetworkName.VGG16)).plan.peak_bytes


@pytest.mark.parametrize("policy", MemoryPolicy)
def test_by_its_policy_a_job_is_reduced_or_refused(policy: MemoryPolicy, caplog: pytest.LogCaptureFixture) -> None:
    network = sketch_network(NetworkName.VGG16)
    planner = Planner(CPU, limit_bytes=needed(500))
    params = HarmonizeParams(working_long_side_px=800, object_size_px=None, memory_policy=policy)
    decision = planner.decide(MASK, None, params, network)
    assert decision.largest is not None
    assert 490 <= decision.largest < 520
    if policy is MemoryPolicy.REFUSE:
        assert (decision.fits, decision.is_reduced, decision.params) == (False, False, params)
        with pytest.raises(ServiceError, match=f"working_long_side_px to {decision.largest} or less") as caught:
            decision.require_fit(CPU)
        assert caught.value.metadata["predicted_bytes"] == str(decision.plan.peak_bytes)
        return
    assert (decision.fits, decision.is_reduced) == (True, True)
    assert decision.params.working_long_side_px == decision.largest == max(decision.plan.working_size)
    assert decision.plan.peak_bytes <= decision.available
    decision.require_fit(CPU)
    with caplog.at_level(logging.INFO, "painterly_harmonize.planning"):
        planner.log(decision)
    assert "at a reduced size" in caplog.text


async def test_a_reduced_job_tells_its_size() -> None:
    message = request(pb.HarmonizeRequest)
    message.parameters.memory_policy = pb.MEMORY_POLICY_REDUCE
    network = toy_network()
    pictures = scene(320, 240)
    message.composite.CopyFrom(png(pictures.composite))
    message.painting.CopyFrom(png(pictures.painting))
    message.mask.CopyFrom(png(pictures.mask))
    params = HarmonizeParams(working_long_side_px=200, object_size_px=None)
    mask = torch.from_numpy(pictures.mask)[None, None].float()
    enough = Planner(CPU).decide(mask, None, params, network).plan.peak_bytes
    async with running(networks_of(network), memory_bytes=enough) as service:
        events = [event async for event in service.stub.Harmonize(message)]
    result = events[-1].result
    assert 200 <= result.working_width_px < 320
    assert result.parameters_used.working_long_side_px == result.working_width_px
    assert (result.image.width_px, result.image.height_px) == (320, 240)


async def test_a_stage_that_runs_out_of_memory_begins_once_more() -> None:
    # The second pass's first attempt asks for a petabyte; the first pass is not run again for it.
    faults: list[Any] = [lambda: None, lambda: torch.empty(2**50)]

    def failing(taps: frozenset[str], pixels: torch.Tensor) -> torch.Tensor:
        if faults:
            faults.pop(0)()
        return pixels

    async with running(networks_of(toy_network(failing)), memory_bytes=PLENTY) as service:
        hit = [event async for event in service.stub.Harmonize(request(pb.HarmonizeRequest))]
        plain = [event async for event in service.stub.Harmonize(request(pb.HarmonizeRequest))]
    assert not faults
    begun = [event.progress.stage for event in hit if event.HasField("progress") and event.progress.iteration == 0]
    assert begun.count(pb.STAGE_PASS1) == 1
    assert pb.STAGE_PASS2 in begun
    assert hit[-1].result.image.data == plain[-1].result.image.data


def test_available_memory_is_bounded_by_limit_and_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_CGROUP", tmp_path)
    free = available_bytes(CPU)
    assert free > 1 << 20
    assert available_bytes(CPU, 1000) == 1000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes(CPU) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(CPU) > 1 << 20


def test_a_device_learns_how_fast_it_is() -> None:
    speed = DeviceSpeed(CPU)
    work = Work(flop=speed.flop_per_s, moved_bytes=speed.bytes_per_s)
    assert speed.seconds(work) == pytest.approx(2)
    for _ in range(20):
        speed.learn(work, 3)
    assert speed.seconds(work) == pytest.approx(3, rel=1e-3)
    assert speed.seconds(work.times(2)) == pytest.approx(6, rel=1e-3)
    for _ in range(50):
        speed.learn(work, 1e6)
    assert speed.seconds(work) == pytest.approx(10)


_STARVED = """
import resource, sys
import torch
from painterly_harmonize.algorithm.memory import is_out_of_memory, release_memory
torch.set_num_threads(1)
torch.zeros(10) + 1
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
try:
    held = [torch.ones(16 << 20) for _ in range(64)]
except (RuntimeError, MemoryError) as error:
    assert is_out_of_memory(error), repr(error)
    error = None
held = None
release_memory(torch.device("cpu"))
assert torch.ones(16 << 20).sum() == 16 << 20
print("lives on")
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="needs Linux")
def test_a_process_lives_on_after_its_memory_was_used_up() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", _STARVED], capture_output=True, text=True, env=environment, check=False
    )
    assert answer.stdout == "lives on\n", answer.stderr
