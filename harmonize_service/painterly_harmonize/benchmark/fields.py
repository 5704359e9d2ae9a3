"""The nearest-neighbor fields of a run, the product's and those of unfolded patches."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from painterly_harmonize.algorithm.masks import soft_tap_masks
from painterly_harmonize.algorithm.matching import Measure, nearest_neighbor_field
from painterly_harmonize.algorithm.pass2 import reference_cells
from painterly_harmonize.algorithm.problem import Working
from painterly_harmonize.benchmark.measuring import Clock
from painterly_harmonize.benchmark.plain_twin import (
    PASS1_TAPS,
    REFERENCE_TAP,
    PlainNetwork,
    cosine_matches,
    unit_sum_matches,
)

_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class MatchingFigures:
    """All four fields of a run: seconds (median), and the share of the product's matches that the twin finds too."""

    product_s: float
    twin_s: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field to find: features 1×C×h×w of both pictures, and the positions that a pass needs."""

    source: Tensor
    style: Tensor
    positions: Tensor
    measure: Measure

    def by_product(self) -> Tensor:
        """The matches of the positions."""
        match, _ = nearest_neighbor_field(self.source[0], self.style[0], self.positions, self.measure)
        return match

    def by_twin(self) -> Tensor:
        """The matches of every position, from unfolded patches."""
        plain = cosine_matches if self.measure is Measure.COSINE else unit_sum_matches
        return plain(self.source, self.style)


def fields_of(working: Working, plain: PlainNetwork) -> list[Field]:
    """The three fields of pass 1 and the one of pass 2, whose source is the composite here."""
    composite, painting = (
        plain.features(image * working.pixel_scale, PASS1_TAPS) for image in (working.composite, working.painting)
    )
    soft = soft_tap_masks(working.dilated_mask, plain.kinds)
    fields = [
        Field(
            source=composite[tap],
            style=painting[tap],
            positions=torch.nonzero(soft[tap].flatten()).flatten(),
            measure=Measure.COSINE,
        )
        for tap in PASS1_TAPS
    ]
    source = composite[REFERENCE_TAP]
    _, near = reference_cells(working.mask, (source.shape[-2], source.shape[-1]))
    fields.append(
        Field(
            source=source,
            style=painting[REFERENCE_TAP],
            positions=torch.nonzero(near.flatten()).flatten(),
            measure=Measure.UNIT_SUM,
        )
    )
    return fields


def time_matching(fields: list[Field], *, baseline: bool, clock: Clock) -> MatchingFigures:
    """Find all fields, by the product and with ``baseline`` by the twin, turn by turn."""
    product_s, twin_s = [], []
    ours: list[Tensor] = []
    plain: list[Tensor] = []
    for _ in range(_ROUNDS):
        ours, seconds = clock.timed(lambda: [field.by_product() for field in fields])
        product_s.append(seconds)
        if baseline:
            plain, seconds = clock.timed(lambda: [field.by_twin() for field in fields])
            twin_s.append(seconds)
    if not baseline:
        return MatchingFigures(product_s=statistics.median(product_s))
    same = [a == b[field.positions] for a, b, field in zip(ours, plain, fields, strict=True)]
    return MatchingFigures(
        product_s=statistics.median(product_s),
        twin_s=statistics.median(twin_s),
        agreement=float(torch.cat(same).double().mean()),
    )
