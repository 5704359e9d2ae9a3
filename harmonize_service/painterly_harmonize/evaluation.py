"""Quality reports: measured of a job's result or of a request's picture, and written as messages."""

from __future__ import annotations

import dataclasses
import logging

import torch
from torch import Tensor

from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import quality_pb2
from painterly_harmonize.algorithm import quality
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.quality_types import QualityMeasures, QualityReport, StyleMeasures
from painterly_harmonize.conversion import to_service_error
from painterly_harmonize.images import Pictures, read_evaluation

logger = logging.getLogger(__name__)

# A report needs little, and must not wait for the device's job.
_CPU = torch.device("cpu")


def answer_evaluate(request: pb.EvaluateRequest) -> pb.EvaluateResponse:
    """Measure the picture of a request. Raises: ServiceError as for the pictures of any other call."""
    try:
        result, pictures = read_evaluation(request)
        inputs = pictures.to_inputs(_CPU)
        report = quality.evaluate(torch.from_numpy(result), inputs, style_mask=inputs.style_mask)
    except AlgorithmError as error:
        raise to_service_error(error) from None
    return pb.EvaluateResponse(report=quality_report(report))


def report_of(image: Tensor, pictures: Pictures, style_mask: Tensor | None) -> quality_pb2.QualityReport | None:
    """Measure a job's picture, uint8 H×W×3; None, and a trace in the log, where that fails: the picture must arrive.

    ``style_mask``, bool H×W, is the part of the painting that lent its style.
    """
    try:
        source = None if style_mask is None else style_mask[None, None].float()
        return quality_report(quality.evaluate(image, pictures.to_inputs(_CPU), style_mask=source))
    except Exception:
        logger.exception("the result could not be measured; it goes out without a quality report")
        return None


def quality_report(report: QualityReport) -> quality_pb2.QualityReport:
    """Write a quality report."""
    return quality_pb2.QualityReport(
        before=_quality_measures(report.before),
        after=_quality_measures(report.after),
        object_area=report.object_area,
        evaluated_height_px=report.evaluated_size[0],
        evaluated_width_px=report.evaluated_size[1],
        warnings=[
            quality_pb2.QualityWarning(code=each.code.value, message=each.message, advice=each.advice)
            for each in report.warnings
        ],
    )


def _quality_measures(measures: QualityMeasures) -> quality_pb2.QualityMeasures:
    return quality_pb2.QualityMeasures(
        background_changed_pixel_count=measures.background_changed_pixel_count,
        background_largest_change=measures.background_largest_change,
        painting=_style_measures(measures.painting),
        style_region=None if measures.style_region is None else _style_measures(measures.style_region),
        seam_ratio=measures.seam_ratio,
        structure_kept=measures.structure_kept,
    )


def _style_measures(measures: StyleMeasures) -> quality_pb2.StyleMeasures:
    return quality_pb2.StyleMeasures(**dataclasses.asdict(measures))
