"""Quality reports: read from messages, asked for by both clients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2, quality_pb2
from painterly_client import (
    InvalidRequest,
    QualityMeasures,
    QualityReport,
    QualityWarning,
    Result,
    StyleMeasures,
)
from painterly_client._conversion import event_of
from tests.client.kit import Harmonize, MakeTwin, serving

MakeStyle = Callable[..., Any]


def style(kind: MakeStyle, first: float) -> Any:
    names = [field.name for field in dataclasses.fields(StyleMeasures)]
    return kind(**{name: first + number for number, name in enumerate(names)})


MESSAGE = quality_pb2.QualityReport(
    before=quality_pb2.QualityMeasures(
        background_changed_pixel_count=2**40,
        background_largest_change=3,
        painting=style(quality_pb2.StyleMeasures, 0.5),
        seam_ratio=2,
        structure_kept=1,
    ),
    after=quality_pb2.QualityMeasures(
        painting=style(quality_pb2.StyleMeasures, 10),
        style_region=style(quality_pb2.StyleMeasures, 20),
        seam_ratio=1.5,
        structure_kept=-0.25,
    ),
    object_area=0.125,
    evaluated_width_px=512,
    evaluated_height_px=300,
    warnings=[quality_pb2.QualityWarning(code="SEAM_VISIBLE", message="it shows", advice="look")],
)
REPORT = QualityReport(
    before=QualityMeasures(
        background_changed_pixel_count=2**40,
        background_largest_change=3,
        painting=style(StyleMeasures, 0.5),
        style_region=None,
        seam_ratio=2,
        structure_kept=1,
    ),
    after=QualityMeasures(
        background_changed_pixel_count=0,
        background_largest_change=0,
        painting=style(StyleMeasures, 10),
        style_region=style(StyleMeasures, 20),
        seam_ratio=1.5,
        structure_kept=-0.25,
    ),
    object_area=0.125,
    evaluated_width_px=512,
    evaluated_height_px=300,
    warnings=(QualityWarning(code="SEAM_VISIBLE", message="it shows", advice="look"),),
)


def test_the_types_have_the_messages_fields() -> None:
    for message, kind in (
        (quality_pb2.QualityReport, QualityReport),
        (quality_pb2.QualityMeasures, QualityMeasures),
        (quality_pb2.StyleMeasures, StyleMeasures),
        (quality_pb2.QualityWarning, QualityWarning),
    ):
        assert {field.name for field in message.DESCRIPTOR.fields} == {each.name for each in dataclasses.fields(kind)}


@pytest.mark.parametrize("quality", [None, MESSAGE])
def test_a_result_brings_its_report(quality: quality_pb2.QualityReport | None) -> None:
    image = image_pb2.Image(data=b"png", format=image_pb2.IMAGE_FORMAT_PNG)
    event = event_of(pb.HarmonizeResponse(result=pb.ResultEvent(image=image, quality=quality)))
    assert isinstance(event, Result)
    assert event.quality == (None if quality is None else REPORT)


def test_evaluate(make_twin: MakeTwin) -> None:
    async def answer(request: Any, context: Any) -> Any:
        yield pb.EvaluateResponse(report=MESSAGE)

    servicer = Harmonize(answer)
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        report = twin.evaluate(b"result", b"painting", b"composite", b"mask")
        twin.evaluate(b"result", b"painting", b"composite", b"mask", dilated_mask=b"dilated", style_mask=b"style")
    assert report == REPORT
    plain = pb.EvaluateRequest(
        result=image_pb2.Image(data=b"result"),
        painting=image_pb2.Image(data=b"painting"),
        composite=image_pb2.Image(data=b"composite"),
        mask=image_pb2.Image(data=b"mask"),
    )
    full = pb.EvaluateRequest(dilated_mask=image_pb2.Image(data=b"dilated"), style_mask=image_pb2.Image(data=b"style"))
    full.MergeFrom(plain)
    assert servicer.requests == [plain, full]


def test_evaluate_refuses_what_is_no_image_here(make_twin: MakeTwin) -> None:
    with pytest.raises(InvalidRequest, match="style_mask"):
        make_twin(harmonize_endpoint="127.0.0.1:1").evaluate(b"a", b"b", b"c", b"d", style_mask="e.png")
