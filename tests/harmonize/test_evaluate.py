"""Quality reports over the wire: with every result, and of pictures of any origin."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from painterly.errors import ErrorDetails, read_details
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2, quality_pb2
from painterly_harmonize.algorithm import quality
from painterly_harmonize.algorithm.quality_types import QualityMeasures, StyleMeasures
from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.evaluation import quality_report
from painterly_harmonize.images import mask_to_tensor, to_tensor
from tests.harmonize.toy import (
    Gate,
    Scene,
    last_of,
    networks_of,
    next_of,
    pixels_of,
    png,
    request,
    running,
    scene,
    toy_network,
)

CPU = torch.device("cpu")


def inputs_of(made: Scene) -> Inputs:
    return Inputs(
        composite=to_tensor(made.composite, CPU),
        painting=to_tensor(made.painting, CPU),
        mask=mask_to_tensor(made.mask, CPU),
    )


def evaluate_request(**changes: image_pb2.Image) -> pb.EvaluateRequest:
    made = scene()
    message = pb.EvaluateRequest(
        result=png(made.composite), painting=png(made.painting), composite=png(made.composite), mask=png(made.mask)
    )
    for name, image in changes.items():
        getattr(message, name).CopyFrom(image)
    return message


async def refusal(call: Any) -> ErrorDetails:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_details(caught.value)


@pytest.mark.parametrize("call", ["RunPass1", "RunPass2", "Harmonize"])
async def test_every_result_carries_the_report_of_its_pixels(call: str) -> None:
    asked: Any = request(getattr(pb, f"{call}Request"))
    if call == "RunPass2":
        asked.pass1_result.CopyFrom(asked.composite)
    async with running() as service:
        result = (await last_of(getattr(service.stub, call)(asked))).result
    expected = quality_report(quality.evaluate(torch.from_numpy(pixels_of(result.image)), inputs_of(scene())))
    found = result.quality
    assert found.after != found.before
    assert found.after.background_changed_pixel_count == 0
    # The second pass knows which part of the painting it learned from.
    assert found.after.HasField("style_region") == found.before.HasField("style_region") == (call != "RunPass1")
    for report in (found, expected):
        report.before.ClearField("style_region")
        report.after.ClearField("style_region")
        report.ClearField("warnings")
    assert found == expected


async def test_a_report_that_fails_never_loses_the_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no number")

    monkeypatch.setattr(quality, "evaluate", fail)
    async with running() as service:
        with caplog.at_level(logging.ERROR):
            result = (await last_of(service.stub.Harmonize(request(pb.HarmonizeRequest)))).result
    assert result.image.data
    assert not result.HasField("quality")
    assert "without a quality report" in caplog.text


async def test_evaluate_measures_what_it_is_given() -> None:
    made = scene()
    dilated, style = np.zeros_like(made.mask), np.zeros_like(made.mask)
    dilated[16:44, 20:52] = True
    style[:, 60:] = True
    result = made.composite.copy()
    result[0, 0] ^= 1
    given = {"dilated_mask": png(dilated), "style_mask": png(style), "result": png(result)}
    async with running() as service:
        report = (await service.stub.Evaluate(evaluate_request(**given))).report
        again = (await service.stub.Evaluate(evaluate_request(**given))).report
        plain = (await service.stub.Evaluate(evaluate_request())).report
    inputs = dataclasses.replace(inputs_of(made), dilated_mask=mask_to_tensor(dilated, CPU))
    expected = quality.evaluate(torch.from_numpy(result), inputs, style_mask=mask_to_tensor(style, CPU))
    assert report == again == quality_report(expected)
    assert report.after.background_changed_pixel_count == 1
    assert report.after.HasField("style_region")
    assert (report.evaluated_width_px, report.evaluated_height_px) == (80, 64)
    assert report.object_area == made.mask.mean()
    assert plain.before == plain.after
    assert not plain.after.HasField("style_region")


async def test_evaluate_waits_for_no_job() -> None:
    gate = Gate()
    async with running(networks_of(toy_network(gate))) as service:
        job = service.stub.RunPass1(request(pb.RunPass1Request, 1))
        await next_of(job)
        assert (await service.stub.Evaluate(evaluate_request(), timeout=20)).HasField("report")
        assert not service.idle
        gate.opened.set()
        assert (await last_of(job)).HasField("result")


MASK = scene().mask
REFUSED = {
    "not an image": ({"result": image_pb2.Image(data=b"x")}, "IMAGE_UNDECODABLE", "result"),
    "no bytes": ({"result": image_pb2.Image()}, "FIELD_REQUIRED", "result"),
    "another size": ({"result": png(scene(81, 64).painting)}, "IMAGE_SIZE_MISMATCH", "result"),
    "style mask of another size": ({"style_mask": png(scene(81, 64).mask)}, "IMAGE_SIZE_MISMATCH", "style_mask"),
    "empty mask": ({"mask": png(np.zeros_like(MASK))}, "MASK_EMPTY", "mask"),
    "full mask": ({"mask": png(np.ones_like(MASK))}, "MASK_FULL", "mask"),
    "empty style mask": ({"style_mask": png(np.zeros_like(MASK))}, "MASK_EMPTY", "style_mask"),
    "small dilated mask": ({"dilated_mask": png(np.zeros_like(MASK))}, "MASK_NOT_CONTAINED", "dilated_mask"),
}


async def test_bad_input_is_refused_with_its_reason_and_field() -> None:
    async with running() as service:
        for name, (changes, reason, field) in REFUSED.items():
            error = await refusal(service.stub.Evaluate(evaluate_request(**changes)))
            assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), name
            assert error.metadata["field"] == field, name
            assert [path for path, _ in error.violations] == [field], name


def test_the_message_has_the_report_s_fields() -> None:
    for message, kind in (
        (quality_pb2.StyleMeasures, StyleMeasures),
        (quality_pb2.QualityMeasures, QualityMeasures),
    ):
        names = {field.name for field in message.DESCRIPTOR.fields}
        assert names == {field.name for field in dataclasses.fields(kind)}
