"""Unary calls over real connections: what is sent, what comes back, what goes wrong; over both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from painterly.errors import ServiceError
from painterly.limits import MAX_MESSAGE_BYTES
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as harmonize_pb
from painterly.v1 import preprocess_service_pb2 as pb
from painterly_client import (
    AsyncClient,
    BackgroundRemoval,
    BackgroundRemovalDetails,
    BackgroundRemovalMethod,
    BackgroundRemoved,
    Cancelled,
    ChromaKey,
    Client,
    Composed,
    Compositing,
    DeadlineExceeded,
    Dilated,
    GrabCut,
    HarmonizeParameters,
    ImageFormat,
    InvalidRequest,
    JobPlan,
    MaskDilation,
    MemoryPolicy,
    ObjectSelection,
    OutputOptions,
    PhotoBox,
    PhotoPoint,
    PlacedElement,
    Placement,
    PlacementAnchor,
    PlacementScores,
    PlacementSuggestion,
    PreconditionFailed,
    Prepared,
    Preset,
    RemoveBg,
    RemoveBgSize,
    RemoveBgType,
    RemoveBgUsage,
    RgbColor,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    Stage,
    StagePlan,
)
from tests.client.kit import Harmonize, MakeTwin, Preprocess, compose_answer, free_port, queued, serving

MIB = 2**20
LARGE = 2 * MIB  # than the 256 KiB that gRPC keeps for a retry unless told otherwise


async def composing(request: Any, context: Any) -> pb.ComposeResponse:
    return compose_answer()


def test_remove_background(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.RemoveBackgroundResponse:
        return pb.RemoveBackgroundResponse(
            element=image_pb2.Image(data=b"element"),
            method_used=pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
            method_reason="no weights",
        )

    servicer = Preprocess(RemoveBackground=answer)
    with serving(servicer) as endpoint:
        twin = make_twin(preprocess_endpoint=endpoint)
        expected = BackgroundRemoved(
            element=b"element", method_used=BackgroundRemovalMethod.GRABCUT, method_reason="no weights"
        )
        assert twin.remove_background(b"photo") == expected
        assert twin.remove_background(b"photo", method=BackgroundRemovalMethod.ALPHA) == expected
    sent = [(request.photo.data, request.background_removal.method) for request in servicer.requests]
    assert sent == [
        (b"photo", pb.BACKGROUND_REMOVAL_METHOD_AUTO),
        (b"photo", pb.BACKGROUND_REMOVAL_METHOD_ALPHA),
    ]


def test_compose(make_twin: MakeTwin) -> None:
    servicer = Preprocess(Compose=composing)
    with serving(servicer) as endpoint:
        composed = make_twin(preprocess_endpoint=endpoint).compose(
            b"element", b"painting", placement=Placement(height_fraction=0.25)
        )
    assert composed == Composed(
        composite=b"composite",
        mask=b"mask",
        placement_used=Placement(
            center_x_fraction=0.5,
            center_y_fraction=0.0,
            height_fraction=0.25,
            rotation_degrees=-90,
            flip_horizontal=True,
        ),
    )
    assert servicer.requests == [
        pb.ComposeRequest(
            element=image_pb2.Image(data=b"element"),
            painting=image_pb2.Image(data=b"painting"),
            placement=pb.Placement(height_fraction=0.25),
        )
    ]


def test_compose_several_elements(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.ComposeResponse:
        response = compose_answer()
        response.alpha.data = b"alpha"
        response.placements_used.extend(each.placement for each in request.elements)
        response.placement_reasons.extend(["", "calm"])
        response.compositing_used.CopyFrom(request.compositing)
        return response

    servicer = Preprocess(Compose=answer)
    places = Placement(width_px=30, anchor=PlacementAnchor.BOTTOM, z_order=-1), Placement(is_automatic=True)
    elements = [
        PlacedElement(element=name, placement=place) for name, place in zip((b"one", b"two"), places, strict=True)
    ]
    how = Compositing(linear_light=True, tone_match_strength=0.5)
    output = OutputOptions(format=ImageFormat.WEBP, include_alpha=True)
    with serving(servicer) as endpoint:
        composed = make_twin(preprocess_endpoint=endpoint).compose_elements(
            elements, b"painting", compositing=how, output=output
        )
    assert (composed.alpha, composed.placements_used) == (b"alpha", places)
    assert (composed.placement_reasons, composed.compositing_used) == (("", "calm"), how)
    bottom = pb.Placement(width_px=30, anchor=pb.PLACEMENT_ANCHOR_BOTTOM, z_order=-1)
    assert servicer.requests == [
        pb.ComposeRequest(
            painting=image_pb2.Image(data=b"painting"),
            elements=[
                pb.PlacedElement(element=image_pb2.Image(data=b"one"), placement=bottom),
                pb.PlacedElement(element=image_pb2.Image(data=b"two"), placement=pb.Placement(is_automatic=True)),
            ],
            compositing=pb.Compositing(linear_light=True, tone_match_strength=0.5),
            output=pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_WEBP, include_alpha=True),
        )
    ]


def test_several_elements_that_cannot_be_sent(make_twin: MakeTwin) -> None:
    twin = make_twin(preprocess_endpoint="127.0.0.1:1")
    with pytest.raises(InvalidRequest) as caught:
        twin.compose_elements([], b"painting")
    assert (caught.value.reason, caught.value.field) == ("FIELD_REQUIRED", "elements")
    wrong = PlacedElement(element=b"two", placement=Placement(anchor="here"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        twin.compose_elements([PlacedElement(element=b"one"), wrong], b"painting")
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_ENUM_VALUE", "elements[1].placement.anchor")
    many = [PlacedElement(element=bytes(30 * MIB)) for _ in range(3)]
    with pytest.raises(InvalidRequest, match="may not exceed") as caught:
        twin.compose_elements(many, b"painting")
    assert (caught.value.reason, caught.value.field) == ("IMAGE_SIZE_OUT_OF_RANGE", "elements[0].element")


def test_suggest_placement(make_twin: MakeTwin) -> None:
    suggestion = pb.PlacementSuggestion(
        placement=pb.Placement(center_x_fraction=0.25, center_y_fraction=0.5, height_fraction=0.5),
        score=0.75,
        scores=pb.PlacementScores(free=0.5, support=1, scale=0.25, balance=0.125),
        reason="calm",
        left_px=1,
        top_px=2,
        width_px=3,
        height_px=4,
    )

    async def answer(request: Any, context: Any) -> pb.SuggestPlacementResponse:
        return pb.SuggestPlacementResponse(suggestions=[suggestion])

    servicer = Preprocess(SuggestPlacement=answer)
    with serving(servicer) as endpoint:
        twin = make_twin(preprocess_endpoint=endpoint)
        found = twin.suggest_placement(b"painting", aspect_ratio=0.5, height_fraction=0.5, suggestion_count=1)
        assert twin.suggest_placement(b"painting", element=b"element") == found
        with pytest.raises(InvalidRequest, match="is not a number") as caught:
            twin.suggest_placement(b"painting", suggestion_count="many")
        assert caught.value.field == "suggestion_count"
    assert found == (
        PlacementSuggestion(
            placement=Placement(center_x_fraction=0.25, center_y_fraction=0.5, height_fraction=0.5),
            score=0.75,
            scores=PlacementScores(free=0.5, support=1, scale=0.25, balance=0.125),
            reason="calm",
            left_px=1,
            top_px=2,
            width_px=3,
            height_px=4,
        ),
    )
    painting = image_pb2.Image(data=b"painting")
    assert servicer.requests == [
        pb.SuggestPlacementRequest(painting=painting, aspect_ratio=0.5, height_fraction=0.5, suggestion_count=1),
        pb.SuggestPlacementRequest(painting=painting, element=image_pb2.Image(data=b"element")),
    ]


PLAN = harmonize_pb.PlanResponse(
    fits=True,
    is_reduced=True,
    working_width_px=640,
    working_height_px=480,
    stages=[
        harmonize_pb.StagePlan(
            stage=harmonize_pb.STAGE_PASS2,
            left_px=1,
            top_px=2,
            width_px=3,
            height_px=4,
            predicted_peak_memory_bytes=5,
            predicted_duration=Duration(seconds=6, nanos=500_000_000),
        )
    ],
    predicted_peak_memory_bytes=7,
    available_memory_bytes=8,
    predicted_duration=Duration(seconds=9),
    matching_chunk_pairs=10,
    device="cpu",
    parameters_used=harmonize_pb.HarmonizeParameters(memory_policy=harmonize_pb.MEMORY_POLICY_REDUCE),
)


def test_plan(make_twin: MakeTwin) -> None:
    answers = [PLAN, harmonize_pb.PlanResponse(largest_working_long_side_px=11)]

    async def answer(request: Any, context: Any) -> Any:
        yield answers.pop(0)

    servicer = Harmonize(answer)
    parameters = HarmonizeParameters(preset=Preset.DRAFT, memory_policy=MemoryPolicy.REDUCE)
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        plan = twin.plan(b"mask", dilated_mask=b"dilated", parameters=parameters)
        assert twin.plan(b"mask").largest_working_long_side_px == 11
    assert plan == JobPlan(
        fits=True,
        is_reduced=True,
        working_width_px=640,
        working_height_px=480,
        stages=(
            StagePlan(
                stage=Stage.PASS2,
                left_px=1,
                top_px=2,
                width_px=3,
                height_px=4,
                predicted_peak_memory_bytes=5,
                predicted_duration_s=6.5,
            ),
        ),
        predicted_peak_memory_bytes=7,
        available_memory_bytes=8,
        predicted_duration_s=9.0,
        largest_working_long_side_px=None,
        matching_chunk_pairs=10,
        device="cpu",
        parameters_used=HarmonizeParameters(memory_policy=MemoryPolicy.REDUCE),
    )
    assert servicer.requests == [
        harmonize_pb.PlanRequest(
            mask=image_pb2.Image(data=b"mask"),
            dilated_mask=image_pb2.Image(data=b"dilated"),
            parameters=harmonize_pb.HarmonizeParameters(
                preset=harmonize_pb.PRESET_DRAFT, memory_policy=harmonize_pb.MEMORY_POLICY_REDUCE
            ),
        ),
        harmonize_pb.PlanRequest(mask=image_pb2.Image(data=b"mask")),
    ]


def test_a_plan_needs_the_harmonize_service(make_twin: MakeTwin) -> None:
    with pytest.raises(InvalidRequest, match="harmonize_endpoint"):
        make_twin(preprocess_endpoint="127.0.0.1:1").plan(b"mask")


def test_dilate_mask(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.DilateMaskResponse:
        return pb.DilateMaskResponse(dilated_mask=request.mask, dilation_used=request.dilation)

    dilation = MaskDilation(kernel_size_px=9, omit_mask_union=True)
    with serving(Preprocess(DilateMask=answer)) as endpoint:
        dilated = make_twin(preprocess_endpoint=endpoint).dilate_mask(b"mask", dilation=dilation)
    assert dilated == Dilated(dilated_mask=b"mask", dilation_used=dilation)


def test_prepare(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.PrepareResponse:
        return pb.PrepareResponse(
            composite=image_pb2.Image(data=b"composite"),
            mask=image_pb2.Image(data=b"mask"),
            dilated_mask=image_pb2.Image(data=b"dilated"),
            element=image_pb2.Image(data=request.photo.data + request.painting.data),
            method_used=request.background_removal.method,
            method_reason="asked for",
            placement_used=request.placement,
            dilation_used=request.dilation,
        )

    placement, dilation = Placement(center_x_fraction=0.1), MaskDilation(kernel_size_px=3)
    with serving(Preprocess(Prepare=answer)) as endpoint:
        prepared = make_twin(preprocess_endpoint=endpoint).prepare(
            b"photo", b"painting", method=BackgroundRemovalMethod.U2NET, placement=placement, dilation=dilation
        )
    assert prepared == Prepared(
        composite=b"composite",
        mask=b"mask",
        dilated_mask=b"dilated",
        element=b"photopainting",
        method_used=BackgroundRemovalMethod.U2NET,
        method_reason="asked for",
        placement_used=placement,
        dilation_used=dilation,
    )


def test_how_it_is_cut_out(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.RemoveBackgroundResponse:
        usage = pb.RemoveBgUsage(credits_charged=1, credits_left=0)
        return pb.RemoveBackgroundResponse(
            element=image_pb2.Image(data=b"element"),
            method_used=pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG,
            details=pb.BackgroundRemovalDetails(left_px=3, top_px=0, remove_bg_usage=usage),
        )

    removal = BackgroundRemoval(
        method=BackgroundRemovalMethod.GRABCUT,
        mask=b"mask",
        grab_cut=GrabCut(
            box=PhotoBox(left_fraction=0, top_fraction=0.1, right_fraction=0.5, bottom_fraction=1),
            foreground_strokes=b"strokes",
        ),
        chroma_key=ChromaKey(color=RgbColor(red=0, green=177, blue=64), tolerance=12),
        remove_bg=RemoveBg(api_key="secret", size=RemoveBgSize.PREVIEW, type=RemoveBgType.CAR),
        refine_edges=False,
        selection=ObjectSelection(point=PhotoPoint(x_fraction=0.2, y_fraction=0), island_fraction=0),
        crop_to_content=True,
    )
    servicer = Preprocess(RemoveBackground=answer)
    with serving(servicer) as endpoint:
        made = make_twin(preprocess_endpoint=endpoint).remove_background(b"photo", removal=removal)
    assert made.details == BackgroundRemovalDetails(
        left_px=3, top_px=0, edges_refined=False, remove_bg_usage=RemoveBgUsage(credits_charged=1, credits_left=0)
    )
    assert servicer.requests[0].background_removal == pb.BackgroundRemoval(
        method=pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
        mask=image_pb2.Image(data=b"mask"),
        grab_cut=pb.GrabCut(
            box=pb.PhotoBox(left_fraction=0, top_fraction=0.1, right_fraction=0.5, bottom_fraction=1),
            foreground_strokes=image_pb2.Image(data=b"strokes"),
        ),
        chroma_key=pb.ChromaKey(color=pb.RgbColor(red=0, green=177, blue=64), tolerance=12),
        remove_bg=pb.RemoveBg(api_key="secret", size=pb.REMOVE_BG_SIZE_PREVIEW, type=pb.REMOVE_BG_TYPE_CAR),
        refine_edges=False,
        selection=pb.ObjectSelection(point=pb.PhotoPoint(x_fraction=0.2, y_fraction=0), island_fraction=0),
        crop_to_content=True,
    )
    assert "secret" not in repr(removal)


def test_a_mask_that_is_no_picture(make_twin: MakeTwin) -> None:
    twin = make_twin(preprocess_endpoint="127.0.0.1:1")
    with pytest.raises(InvalidRequest) as caught:
        twin.remove_background(b"photo", removal=BackgroundRemoval(mask="mask.png"))  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.field) == ("IMAGE_UNDECODABLE", "background_removal.mask")


def test_a_refusal_keeps_what_the_server_said(make_twin: MakeTwin) -> None:
    async def refuse(request: Any, context: Any) -> Any:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_FIELD_OUT_OF_RANGE,
            "placement.height_fraction: 9 is not within 0.01 and 4",
            field="placement.height_fraction",
            metadata={"value": "9"},
        )

    with serving(Preprocess(Compose=refuse)) as endpoint, pytest.raises(InvalidRequest) as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e", b"p", placement=Placement(height_fraction=9))
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_OUT_OF_RANGE")
    assert str(error) == "placement.height_fraction: 9 is not within 0.01 and 4"
    assert (error.field, error.metadata["value"]) == ("placement.height_fraction", "9")
    assert error.violations == (("placement.height_fraction", str(error)),)


def test_a_busy_server_says_when_to_try_again(make_twin: MakeTwin) -> None:
    calls: list[str] = []

    async def refuse(request: Any, context: Any) -> Any:
        calls.append("called")
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_QUEUE_FULL, "full", metadata={"queue_size": "2"}, retry_after_s=3
        )

    with serving(Preprocess(Compose=refuse)) as endpoint, pytest.raises(ServerBusy) as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e", b"p")
    assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 3.0)
    assert calls == ["called"]  # not retried


def test_a_bug_on_the_server_is_told_by_its_request_id_alone(
    make_twin: MakeTwin, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: Any, context: Any) -> Any:
        raise RuntimeError("a secret")

    with serving(Preprocess(Compose=fail)) as endpoint, pytest.raises(ServerError) as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e", b"p")
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in str(error)
    assert error.request_id in str(error)
    logged = {getattr(record, "request_id", "") for record in caplog.records if record.name == "painterly.serving"}
    assert logged == {error.request_id}


def test_every_call_has_a_request_id_of_its_own(make_twin: MakeTwin) -> None:
    seen: list[str] = []

    async def answer(request: Any, context: Any) -> pb.ComposeResponse:
        seen.append(dict(context.invocation_metadata())["x-request-id"])
        return compose_answer()

    with serving(Preprocess(Compose=answer)) as endpoint:
        twin = make_twin(preprocess_endpoint=endpoint)
        twin.compose(b"e", b"p")
        twin.compose(b"e", b"p")
    assert len(set(seen)) == 2
    assert all(len(each) == 32 for each in seen)


def test_a_slow_server_ends_in_the_deadline(make_twin: MakeTwin) -> None:
    async def sleep(request: Any, context: Any) -> Any:
        await asyncio.sleep(30)

    with serving(Preprocess(Compose=sleep)) as endpoint:
        twin = make_twin(preprocess_endpoint=endpoint, timeout_s=0.2)
        begin = time.monotonic()
        with pytest.raises(
            DeadlineExceeded, match=r"not done after 0\.2 s; give the client a longer timeout_s"
        ) as caught:
            twin.compose(b"e", b"p")
        assert 0.15 < time.monotonic() - begin < 5
        assert len(caught.value.request_id) == 32


def test_an_unreachable_server_is_named_with_the_way_out(make_twin: MakeTwin) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnavailable) as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e", b"p")
    assert f"the preprocess service at {endpoint} cannot be reached" in str(caught.value)
    assert "painterly serve preprocess" in str(caught.value)


def test_a_server_that_starts_late_is_found_by_retrying(make_twin: MakeTwin) -> None:
    servicer, port = Preprocess(Compose=composing), free_port()
    with serving(servicer, port=port, delay_s=0.5) as endpoint:
        composed = make_twin(preprocess_endpoint=endpoint).compose(b"e" * LARGE, b"p")
    assert composed.composite == b"composite"
    assert [len(request.element.data) for request in servicer.requests] == [LARGE]


def test_a_draining_server_is_asked_four_times(make_twin: MakeTwin) -> None:
    async def refuse(request: Any, context: Any) -> Any:
        raise ServiceError(error_reason_pb2.ERROR_REASON_DRAINING, "the server stops", retry_after_s=5)

    servicer = Preprocess(Compose=refuse)
    with serving(servicer) as endpoint, pytest.raises(ServerUnavailable, match=r"^the server stops$") as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e" * LARGE, b"p")
    assert (caught.value.reason, caught.value.retry_after_s) == ("DRAINING", 5.0)
    assert len(servicer.requests) == 4


def test_a_request_too_large_for_the_transport_is_not_sent(make_twin: MakeTwin) -> None:
    servicer = Preprocess(Compose=composing)
    with serving(servicer) as endpoint:
        twin = make_twin(preprocess_endpoint=endpoint)
        with pytest.raises(InvalidRequest) as one:
            twin.compose(b"e", b"p" * (32 * MIB + 1))
        with pytest.raises(InvalidRequest) as both:
            twin.compose(b"e" * 32 * MIB, b"p" * 32 * MIB)
    assert (one.value.reason, one.value.field) == ("IMAGE_SIZE_OUT_OF_RANGE", "painting")
    assert both.value.reason == "IMAGE_SIZE_OUT_OF_RANGE"
    assert int(both.value.metadata["value"]) > MAX_MESSAGE_BYTES
    assert servicer.requests == []


def test_an_answer_too_large_for_the_transport_is_no_busy_server(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> pb.ComposeResponse:
        return pb.ComposeResponse(composite=image_pb2.Image(data=b"x" * (MAX_MESSAGE_BYTES + 1)))

    servicer = Preprocess(Compose=answer)
    with serving(servicer) as endpoint, pytest.raises(ServerError, match="send smaller images") as caught:
        make_twin(preprocess_endpoint=endpoint).compose(b"e", b"p")
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert len(servicer.requests) == 1


def test_a_call_without_its_endpoint_names_the_argument(make_twin: MakeTwin) -> None:
    with pytest.raises(InvalidRequest, match="preprocess_endpoint: this call needs the preprocess service") as caught:
        make_twin(harmonize_endpoint="127.0.0.1:1").compose(b"e", b"p")
    assert (caught.value.reason, caught.value.field) == ("FIELD_REQUIRED", "preprocess_endpoint")
    with pytest.raises(InvalidRequest) as caught:
        make_twin().harmonize(b"c", b"p", b"m")
    assert caught.value.field == "harmonize_endpoint"


@pytest.mark.parametrize(
    "endpoint",
    ["", "localhost", "localhost:", ":50051", "localhost:0", "localhost:65536", "ftp://a:1", "http://a", "::1:50051"],
)
def test_an_endpoint_must_be_host_and_port(make_twin: MakeTwin, endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="is not host:port") as caught:
        make_twin(harmonize_endpoint=endpoint)
    assert caught.value.metadata == {"field": "harmonize_endpoint", "value": endpoint}


def test_an_endpoint_may_be_ipv6_and_a_timeout_must_be_positive() -> None:
    Client(harmonize_endpoint="[::1]:50052").close()
    for timeout_s in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequest, match="timeout_s"):
            AsyncClient(timeout_s=timeout_s)


def test_a_closed_client_says_so(make_twin: MakeTwin) -> None:
    twin = make_twin(preprocess_endpoint="127.0.0.1:1", harmonize_endpoint="127.0.0.1:1")
    twin.close()
    with pytest.raises(PreconditionFailed, match="this client is closed"):
        twin.compose(b"e", b"p")
    with pytest.raises(PreconditionFailed, match="this client is closed"):
        twin.harmonize(b"c", b"p", b"m")


async def stay(request: Any, context: Any) -> Any:
    await asyncio.sleep(30)


def test_closing_cancels_a_running_call_of_another_thread() -> None:
    servicer, failures = Preprocess(Compose=stay), []
    with serving(servicer) as endpoint:
        client = Client(preprocess_endpoint=endpoint)

        def call() -> None:
            try:
                client.compose(b"e", b"p")
            except Cancelled as error:
                failures.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        while not servicer.requests:
            time.sleep(0.005)
        client.close()
        caller.join(5)
    assert [type(each) for each in failures] == [Cancelled]


async def test_closing_cancels_a_running_call_of_another_task() -> None:
    servicer = Preprocess(Compose=stay)
    with serving(servicer) as endpoint:
        async with AsyncClient(preprocess_endpoint=endpoint) as client:
            caller = asyncio.create_task(client.compose(b"e", b"p"))
            while not servicer.requests:
                await asyncio.sleep(0.005)
        with pytest.raises(Cancelled, match="the call was cancelled"):
            await caller


async def test_cancelling_the_task_cancels_the_call() -> None:
    ended = threading.Event()

    async def wait(request: Any, context: Any) -> Any:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    servicer = Preprocess(Compose=wait)
    with serving(servicer) as endpoint:
        async with AsyncClient(preprocess_endpoint=endpoint) as client:
            caller = asyncio.create_task(client.compose(b"e", b"p"))
            while not servicer.requests:
                await asyncio.sleep(0.005)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert await asyncio.to_thread(ended.wait, 2)


def test_health(make_twin: MakeTwin) -> None:
    async def handler(request: Any, context: Any) -> Any:
        yield queued(0)

    with serving(Preprocess()) as preprocess, serving(Harmonize(handler)) as harmonize:
        right = make_twin(preprocess_endpoint=preprocess, harmonize_endpoint=harmonize)
        assert (right.check_health("preprocess"), right.check_health("harmonize")) == ("SERVING", "SERVING")
        swapped = make_twin(preprocess_endpoint=harmonize, harmonize_endpoint=preprocess)
        assert swapped.check_health("harmonize") == "SERVICE_UNKNOWN"
        with pytest.raises(ServerError, match="preprocess_endpoint may name another service") as caught:
            swapped.compose(b"e", b"p")
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_health_does_not_retry(make_twin: MakeTwin) -> None:
    twin = make_twin(harmonize_endpoint=f"127.0.0.1:{free_port()}")
    begin = time.monotonic()
    with pytest.raises(ServerUnavailable):
        twin.check_health("harmonize")
    assert time.monotonic() - begin < 0.2
