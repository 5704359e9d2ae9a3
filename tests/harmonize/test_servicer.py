"""The harmonize service over the wire: events, results, refusals, cancellation, queue, drain."""

from __future__ import annotations

import asyncio
import io
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly.weights import WeightState, WeightStore
from painterly_harmonize.algorithm.level_estimate import estimate_level
from painterly_harmonize.algorithm.masks import final_blend_weight
from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.style_level import painting_noise
from painterly_harmonize.conversion import params_from_proto, params_to_proto
from painterly_harmonize.images import mask_to_tensor, to_tensor
from painterly_harmonize.networks import StoredNetworks
from tests.harmonize.toy import (
    CHECKSUM,
    HEIGHT_PX,
    WIDTH_PX,
    Gate,
    failure,
    last_of,
    networks_of,
    next_of,
    pixels_of,
    png,
    request,
    running,
    scene,
    toy_network,
    until,
)

CPU = torch.device("cpu")
LONG = 10_000


def encoded(image: Image.Image, name: str, **options: Any) -> image_pb2.Image:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return image_pb2.Image(data=buffer.getvalue())


def summary(event: Any) -> tuple[Any, ...]:
    kind = event.WhichOneof("event")
    if kind == "progress":
        return (kind, pb.Stage.Name(event.progress.stage), event.progress.iteration)
    if kind == "frame" and event.frame.is_stage_result:
        return ("stage result", pb.Stage.Name(event.frame.stage), event.frame.iteration)
    return (kind,)


def blend_support(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    support: NDArray[np.bool_] = (final_blend_weight(mask_to_tensor(mask, CPU))[0, 0] > 0).numpy()
    return support


async def test_harmonize_streams_events_in_order_and_ends_with_the_result() -> None:
    async with running() as service:
        events = [event async for event in service.stub.Harmonize(request(pb.HarmonizeRequest))]
    shown = [summary(event) for event in events if event.WhichOneof("event") != "frame" or event.frame.is_stage_result]
    assert shown.pop(0) == ("accepted",)
    assert shown[0] == ("queued",)
    assert shown[-1] == ("result",)
    steps = [item for item in shown[1:-1] if item[2] in (0, 3) or item[0] == "stage result"]
    assert steps[:6] == [
        ("progress", "STAGE_PASS1", 0),
        ("progress", "STAGE_PASS1", 3),
        ("stage result", "STAGE_PASS1", 3),
        ("progress", "STAGE_PASS2", 0),
        ("progress", "STAGE_PASS2", 3),
        ("stage result", "STAGE_PASS2", 3),
    ]
    assert steps[6] == ("progress", "STAGE_POSTPROCESSING", 0)
    assert [item for item in shown if item[0] == "queued"] == [("queued",)]
    assert sum(item[0] == "result" for item in shown) == 1


async def test_progress_carries_the_terms_of_its_stage() -> None:
    async with running() as service:
        events = [event async for event in service.stub.Harmonize(request(pb.HarmonizeRequest))]
    last = {event.progress.stage: event.progress for event in events if event.WhichOneof("event") == "progress"}
    terms = {
        stage: sorted(field.name for field, value in progress.losses.ListFields() if value > 0)
        for stage, progress in last.items()
    }
    assert terms == {
        pb.STAGE_PASS1: ["content", "style", "total_variation"],
        pb.STAGE_PASS2: ["content", "histogram", "style", "total_variation"],
        pb.STAGE_POSTPROCESSING: [],
    }
    elapsed = [event.progress.elapsed.ToMicroseconds() for event in events if event.HasField("progress")]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] > 0


async def test_the_result_says_how_it_came_about_and_keeps_the_painting() -> None:
    asked = request(pb.HarmonizeRequest)
    began_s = time.monotonic()
    async with running() as service:
        *_, last = [event async for event in service.stub.Harmonize(asked)]
    took_s = time.monotonic() - began_s
    result, made = last.result, scene()
    pixels = pixels_of(result.image)
    changed = (pixels != made.painting).any(axis=2)
    support = blend_support(made.mask)
    assert (result.image.format, result.image.width_px, result.image.height_px) == (
        image_pb2.IMAGE_FORMAT_PNG,
        WIDTH_PX,
        HEIGHT_PX,
    )
    assert not (changed & ~support).any()
    assert changed[made.mask].mean() > 0.9
    assert result.changed_pixel_count == changed.sum()
    assert result.blend_pixel_count == support.sum()
    estimate = estimate_level(to_tensor(made.painting, CPU))
    used = replace(params_from_proto(asked.parameters), stylization_level=estimate.level)
    assert result.parameters_used == params_to_proto(used)
    assert result.stylization_level == pb.StylizationLevel(
        value=estimate.level, is_estimated=True, reasons=estimate.reasons
    )
    assert result.painting_noise == pytest.approx(painting_noise(to_tensor(made.painting, CPU)))
    assert result.pass2_weights.content == 2.0
    assert result.pass2_weights.style == estimate.level
    assert result.pass2_weights.histogram == estimate.level
    assert (result.device, result.weights_checksum) == ("cpu", CHECKSUM)
    assert [time.stage for time in result.stage_times] == [pb.STAGE_PASS1, pb.STAGE_PASS2, pb.STAGE_POSTPROCESSING]
    durations = [time.duration.ToMicroseconds() / 1e6 for time in result.stage_times]
    assert all(seconds > 0 for seconds in durations)
    assert sum(durations) < took_s


async def test_the_passes_alone_give_what_harmonize_gives() -> None:
    whole = request(pb.HarmonizeRequest)
    whole.parameters.parity.quantize_pass1_result = True
    async with running() as service:
        events = [event async for event in service.stub.Harmonize(whole)]
        *_, first = [event async for event in service.stub.RunPass1(request(pb.RunPass1Request))]
        second_request = request(pb.RunPass2Request)
        second_request.pass1_result.CopyFrom(first.result.image)
        *_, second = [event async for event in service.stub.RunPass2(second_request)]
    results = {event.frame.stage: event.frame.image for event in events if event.frame.is_stage_result}
    assert np.array_equal(pixels_of(first.result.image), pixels_of(results[pb.STAGE_PASS1]))
    assert np.array_equal(pixels_of(second.result.image), pixels_of(results[pb.STAGE_PASS2]))
    assert not np.array_equal(pixels_of(first.result.image), pixels_of(second.result.image))
    assert not first.result.HasField("pass2_weights")
    assert [time.stage for time in first.result.stage_times] == [pb.STAGE_PASS1]
    assert [time.stage for time in second.result.stage_times] == [pb.STAGE_PASS2]


async def test_frames_follow_the_stream_options() -> None:
    asked = request(pb.RunPass1Request)
    asked.stream.frame_long_side_px = 40
    asked.stream.frame_format = image_pb2.IMAGE_FORMAT_WEBP
    async with running() as service:
        events = [event async for event in service.stub.RunPass1(asked)]
        asked.stream.omit_frames = True
        without = [event async for event in service.stub.RunPass1(asked)]
    previews = [event.frame for event in events if event.HasField("frame") and not event.frame.is_stage_result]
    assert previews
    assert {frame.iteration for frame in previews} <= {1, 2}
    for frame in previews:
        assert frame.image.format == image_pb2.IMAGE_FORMAT_WEBP
        assert (frame.image.width_px, frame.image.height_px) == (40, 32)
    assert [event.frame.is_stage_result for event in without if event.HasField("frame")] == [True]


@pytest.mark.parametrize("name", ["WEBP", "TIFF", "BMP"])
async def test_lossless_result_formats_carry_the_same_pixels(name: str) -> None:
    asked = request(pb.RunPass1Request)
    async with running() as service:
        *_, plain = [event async for event in service.stub.RunPass1(asked)]
        asked.stream.result_format = image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{name}")
        *_, other = [event async for event in service.stub.RunPass1(asked)]
    assert other.result.image.format == asked.stream.result_format
    assert np.array_equal(pixels_of(other.result.image), pixels_of(plain.result.image))


PHOTO = Image.fromarray(np.random.default_rng(2).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8))
SMOOTH = PHOTO.resize((8, 6)).resize((WIDTH_PX, HEIGHT_PX))
RGBA = PHOTO.copy()
RGBA.putalpha(255)
TURNED = Image.Exif()
TURNED[0x0112] = 6
DEEP = np.linspace(0, 65_535, WIDTH_PX * HEIGHT_PX).astype(np.uint16).reshape(HEIGHT_PX, WIDTH_PX)
READABLE = {
    "gray": encoded(PHOTO.convert("L"), "PNG"),
    "16-bit gray": encoded(Image.fromarray(DEEP), "PNG"),
    "palette": encoded(PHOTO.convert("P"), "PNG"),
    "alpha": encoded(RGBA, "PNG"),
    "CMYK": encoded(SMOOTH.convert("CMYK"), "JPEG"),
    "EXIF-rotated": encoded(SMOOTH.rotate(90, expand=True), "JPEG", exif=TURNED, quality=95),
}


@pytest.mark.parametrize("kind", READABLE)
async def test_paintings_of_every_kind_are_kept_outside_the_blend(kind: str) -> None:
    asked = request(pb.RunPass1Request, 1)
    asked.painting.CopyFrom(READABLE[kind])
    async with running() as service:
        *_, last = [event async for event in service.stub.RunPass1(asked)]
    outside = ~blend_support(scene().mask)
    with Image.open(io.BytesIO(READABLE[kind].data)) as opened:
        if kind == "16-bit gray":
            expected = np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, axis=2)
        elif kind == "EXIF-rotated":
            expected = np.array(opened.transpose(Image.Transpose.ROTATE_270))
        else:
            expected = np.array(opened.convert("RGB"))
    assert np.array_equal(pixels_of(last.result.image)[outside], expected[outside])


def huge_header() -> bytes:
    """A PNG of 20000x20000 pixels by its header, and next to no data."""
    data = bytearray(png(scene().painting).data)
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def wrong(name: str, image: image_pb2.Image) -> pb.HarmonizeRequest:
    message = request(pb.HarmonizeRequest)
    getattr(message, name).CopyFrom(image)
    return message


def without(name: str) -> pb.HarmonizeRequest:
    message = request(pb.HarmonizeRequest)
    message.ClearField(name)  # type: ignore[arg-type]
    return message


def with_parameters(parameters: pb.HarmonizeParameters) -> pb.HarmonizeRequest:
    message = request(pb.HarmonizeRequest)
    message.parameters.CopyFrom(parameters)
    return message


MASK = scene().mask
SMALLER = MASK.copy()
SMALLER[20, 24] = False
NUMBER: Any = 9
REFUSED = {
    "no composite": (without("composite"), "FIELD_REQUIRED", {"field": "composite"}),
    "no painting": (without("painting"), "FIELD_REQUIRED", {"field": "painting"}),
    "no mask": (without("mask"), "FIELD_REQUIRED", {"field": "mask"}),
    "zero bytes": (wrong("painting", image_pb2.Image()), "FIELD_REQUIRED", {"field": "painting"}),
    "not an image": (wrong("composite", image_pb2.Image(data=b"hello")), "IMAGE_UNDECODABLE", {"field": "composite"}),
    "truncated JPEG": (
        wrong("painting", image_pb2.Image(data=encoded(PHOTO, "JPEG").data[:-900])),
        "IMAGE_UNDECODABLE",
        {"field": "painting"},
    ),
    "1x1": (
        wrong("painting", encoded(Image.new("RGB", (1, 1)), "PNG")),
        "IMAGE_SIZE_OUT_OF_RANGE",
        {"field": "painting", "value": "1x1"},
    ),
    "20000x20000": (
        wrong("mask", image_pb2.Image(data=huge_header())),
        "IMAGE_SIZE_OUT_OF_RANGE",
        {"field": "mask", "value": "20000x20000"},
    ),
    "too small": (
        request(pb.HarmonizeRequest, of=scene(63, 48)),
        "IMAGE_SIZE_OUT_OF_RANGE",
        {"field": "painting", "value": "63x48"},
    ),
    "composite of another size": (
        wrong("composite", png(scene(81, 64).composite)),
        "IMAGE_SIZE_MISMATCH",
        {"field": "composite", "value": "81x64", "expected": "80x64"},
    ),
    "mask of another size": (
        wrong("mask", png(scene(80, 65).mask)),
        "IMAGE_SIZE_MISMATCH",
        {"field": "mask", "value": "80x65", "expected": "80x64"},
    ),
    "empty mask": (wrong("mask", png(np.zeros_like(MASK))), "MASK_EMPTY", {"field": "mask"}),
    "full mask": (wrong("mask", png(np.ones_like(MASK))), "MASK_FULL", {"field": "mask"}),
    "dilated mask too small": (wrong("dilated_mask", png(SMALLER)), "MASK_NOT_CONTAINED", {"field": "dilated_mask"}),
    "unknown enum": (
        with_parameters(pb.HarmonizeParameters(preset=NUMBER)),
        "UNKNOWN_ENUM_VALUE",
        {"field": "parameters.preset", "value": "9"},
    ),
    "not a number": (
        with_parameters(pb.HarmonizeParameters(stylization_level=float("nan"))),
        "FIELD_OUT_OF_RANGE",
        {"field": "parameters.stylization_level", "value": "nan"},
    ),
    "out of range": (
        with_parameters(pb.HarmonizeParameters(pass1=pb.Pass1Parameters(iteration_count=10_001))),
        "FIELD_OUT_OF_RANGE",
        {"field": "parameters.pass1.iteration_count", "value": "10001"},
    ),
}


async def test_bad_input_is_refused_with_its_reason_and_field() -> None:
    async with running() as service:
        for name, (message, reason, metadata) in REFUSED.items():
            error = await failure(service.stub.Harmonize(message))
            given = {key: value for key, value in error.metadata.items() if key != "request_id"}
            assert (error.code, error.reason, given) == (grpc.StatusCode.INVALID_ARGUMENT, reason, metadata), name
            assert [field for field, _ in error.violations] == [metadata["field"]], name
            assert metadata["field"] in error.message, name


async def test_the_second_pass_needs_the_first_ones_result() -> None:
    async with running() as service:
        error = await failure(service.stub.RunPass2(request(pb.RunPass2Request)))
    assert (error.reason, error.metadata["field"]) == ("FIELD_REQUIRED", "pass1_result")


async def test_a_mask_that_vanishes_at_working_size_is_refused() -> None:
    made = scene(640, 320)
    made.mask[:] = False
    made.mask[100, 100] = True
    asked = request(pb.HarmonizeRequest, of=made)
    asked.parameters.working_long_side_px = 64
    async with running() as service:
        error = await failure(service.stub.Harmonize(asked))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MASK_EMPTY")
    assert "raise the working size" in error.message


async def test_missing_and_corrupt_weights_say_how_to_get_them(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    async with running(StoredNetworks(CPU, store)) as service:
        missing = await failure(service.stub.Harmonize(request(pb.HarmonizeRequest)))
        store.status("vgg16").path.write_bytes(b"no tensors")
        corrupt = await failure(service.stub.Harmonize(request(pb.HarmonizeRequest)))
    for error, reason in ((missing, "WEIGHTS_MISSING"), (corrupt, "WEIGHTS_CORRUPT")):
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
        assert error.metadata["weights"] == "vgg16"
        assert "painterly weights fetch vgg16" in error.message
        assert str(tmp_path) not in error.message


@pytest.mark.weights
def test_stored_weights_are_loaded_once() -> None:
    store = WeightStore()
    if store.status("vgg16").state is not WeightState.PRESENT:
        pytest.skip("the weight store has no vgg16; run: painterly weights fetch vgg16")
    networks = StoredNetworks(CPU, store)
    name = HarmonizeParams().network
    loaded = networks(name)
    assert networks(name) is loaded
    assert loaded.checksum == store.checksum("vgg16")
    assert loaded.network.kinds[-1] == "relu5_1"


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
async def test_the_end_of_a_call_stops_the_optimizer_within_one_iteration(ending: str) -> None:
    iteration_s = 0.05

    def slowly(taps: frozenset[str], pixels: Tensor) -> Tensor:
        time.sleep(iteration_s)
        return pixels

    network = toy_network(slowly)
    async with running(networks_of(network)) as service:
        call = service.stub.Harmonize(request(pb.HarmonizeRequest, LONG), timeout=1.0 if ending == "deadline" else None)
        seen = []
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)) as caught:  # noqa: PT012 - a whole call
            async for event in call:
                seen.append(event)
                if ending == "cancel" and event.progress.iteration == 5:
                    call.cancel()
        at_the_end = network.call_count
        await until(lambda: service.idle, 1)
        if ending == "deadline":
            assert isinstance(caught.value, grpc.aio.AioRpcError)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert any(event.progress.iteration >= 5 for event in seen)
    # One iteration may begin before the cancellation has come over the wire, one while it stops.
    assert network.call_count - at_the_end <= 2


async def test_a_reader_that_left_mid_stream_stops_the_work() -> None:
    """A handler that is parked in a yield sees no CancelledError: only its `finally` runs."""
    network = toy_network()
    async with running(networks_of(network)) as service:
        asked = request(pb.HarmonizeRequest, LONG, of=scene(320, 320))
        asked.stream.frame_format = image_pb2.IMAGE_FORMAT_BMP
        call = service.stub.Harmonize(asked)
        await next_of(call)
        await asyncio.sleep(1)
        assert not service.idle
        call.cancel()
        await until(lambda: service.idle, 2)


async def test_a_slow_reader_misses_frames_but_nothing_that_must_arrive() -> None:
    count = 120
    asked = request(pb.RunPass1Request, count, of=scene(320, 320))
    asked.stream.frame_format = image_pb2.IMAGE_FORMAT_BMP
    async with running() as service:
        call = service.stub.RunPass1(asked)
        first = await next_of(call)
        await until(lambda: service.idle, 60)
        rest = [event async for event in call]
    frames = [event.frame for event in rest if event.HasField("frame")]
    assert first.HasField("queued")
    assert len(frames) < count / 2
    numbers = [frame.iteration for frame in frames]
    assert numbers == sorted(numbers)
    assert [frame.is_stage_result for frame in frames][-2:] == [False, True]
    assert numbers[-2:] == [count - 1, count]
    assert max(event.progress.iteration for event in rest) == count
    assert rest[-1].HasField("result")


async def test_two_calls_at_once_get_the_same_result_as_one() -> None:
    async with running() as service:
        alone = await last_of(service.stub.Harmonize(request(pb.HarmonizeRequest)))
        both = await asyncio.gather(*(last_of(service.stub.Harmonize(request(pb.HarmonizeRequest))) for _ in range(2)))
    assert [event.result.image for event in both] == [alone.result.image] * 2


async def test_waiting_callers_learn_their_position_and_a_full_queue_refuses() -> None:
    gate = Gate()
    async with running(networks_of(toy_network(gate)), queue_size=2) as service:
        calls = []
        for expected in (0, 0, 1):
            calls.append(service.stub.RunPass1(request(pb.RunPass1Request, 1)))
            event = await next_of(calls[-1])
            assert event.queued.position == expected
        refused = await failure(service.stub.RunPass1(request(pb.RunPass1Request)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert refused.metadata["queue_size"] == "2"
        assert refused.retry_after_s == 1.0
        calls[1].cancel()
        moved = await next_of(calls[2])
        assert moved.HasField("queued")
        assert moved.queued.position == 0
        gate.opened.set()
        assert (await last_of(calls[0])).HasField("result")
        assert (await last_of(calls[2])).HasField("result")


async def test_a_failing_stage_does_not_take_back_the_one_before() -> None:
    def broken_in_pass2(taps: frozenset[str], pixels: Tensor) -> Tensor:
        return pixels * float("nan") if "relu1_1" in taps else pixels

    seen: list[Any] = []
    async with running(networks_of(toy_network(broken_in_pass2))) as service:
        call = service.stub.Harmonize(request(pb.HarmonizeRequest))

        async def watched() -> Any:
            async for event in call:
                seen.append(event)
                yield event

        error = await failure(watched())
        alone = await last_of(service.stub.RunPass1(request(pb.RunPass1Request)))
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "STAGE_FAILED")
    assert error.metadata["stage"] == "pass2"
    (kept,) = [event.frame for event in seen if event.frame.is_stage_result]
    assert kept.image == alone.result.image


async def test_a_lack_of_memory_and_a_bug_are_told_and_the_server_lives_on() -> None:
    # A stage is tried twice where memory does not suffice.
    faults: list[Any] = [lambda: torch.empty(2**50), lambda: torch.empty(2**50), lambda: [][0]]

    def failing(taps: frozenset[str], pixels: Tensor) -> Tensor:
        if faults:
            faults.pop(0)()
        return pixels

    async with running(networks_of(toy_network(failing))) as service:
        memory = await failure(service.stub.RunPass1(request(pb.RunPass1Request)))
        bug = await failure(service.stub.RunPass1(request(pb.RunPass1Request), metadata=(("x-request-id", "abc"),)))
        after = await last_of(service.stub.RunPass1(request(pb.RunPass1Request)))
    assert (memory.code, memory.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DEVICE_OUT_OF_MEMORY")
    assert memory.metadata["device"] == "cpu"
    assert memory.retry_after_s is None
    assert (bug.code, bug.reason, bug.metadata) == (grpc.StatusCode.INTERNAL, "INTERNAL", {"request_id": "abc"})
    assert "list index" not in bug.message
    assert after.HasField("result")


async def test_draining_lets_the_running_call_finish_and_sends_the_others_away() -> None:
    gate = Gate()
    async with running(networks_of(toy_network(gate))) as service:
        active = service.stub.RunPass1(request(pb.RunPass1Request, 1))
        await next_of(active)
        waiting = service.stub.RunPass1(request(pb.RunPass1Request, 1))
        await next_of(waiting)
        service.front.drain()
        service.worker.drain()
        sent_away = await failure(waiting)
        refused = await failure(service.stub.RunPass1(request(pb.RunPass1Request)))
        gate.opened.set()
        assert (await last_of(active)).HasField("result")
    for error in (sent_away, refused):
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert error.retry_after_s == 5.0


async def test_a_stopping_server_tells_a_long_call_before_it_cuts_it_off() -> None:
    async with running(patience_s=0.2) as service:
        call = service.stub.Harmonize(request(pb.HarmonizeRequest, LONG))
        await next_of(call)
        stopping = asyncio.create_task(service.server.stop())
        error = await failure(call)
        await stopping
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.mark.gpu
async def test_a_cuda_device_computes_keeps_the_painting_and_survives_a_lack_of_memory() -> None:
    device = torch.device("cuda", 0)
    greedy = [True]

    def hungry(taps: frozenset[str], pixels: Tensor) -> Tensor:
        if greedy and greedy.pop():
            torch.empty(2**50, device=device)
        return pixels

    async with running(networks_of(toy_network(hungry, device)), device=device) as service:
        memory = await failure(service.stub.Harmonize(request(pb.HarmonizeRequest)))
        result = (await last_of(service.stub.Harmonize(request(pb.HarmonizeRequest)))).result
    assert (memory.reason, memory.metadata["device"]) == ("DEVICE_OUT_OF_MEMORY", "cuda:0")
    assert result.device == f"cuda:0 {torch.cuda.get_device_name(device)}"
    made = scene()
    changed = (pixels_of(result.image) != made.painting).any(axis=2)
    assert not (changed & ~blend_support(made.mask)).any()
    assert result.changed_pixel_count == changed.sum() > 0
