"""The stylization level of any painting, from its measurements by a small fixed model. Source: docs/level.md."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources

import torch
from torch import Tensor

from painterly_harmonize.algorithm.level_features import measure
from painterly_harmonize.algorithm.style_level import LEVEL_STRONG, LEVEL_WEAK

# Farther than this from the calibration's paintings, in their standard deviations, nothing is known.
_FARTHEST = 2.5
_MOST_REASONS, _LEAST_CONTRIBUTION = 3, 0.15
# What is said of a measurement that is above, and below, that of most paintings.
WORDS: Mapping[str, tuple[str, str]] = {
    "shadow_lightness": ("light shadows", "deep shadows"),
    "chroma": ("strong colors", "muted colors"),
    "shadow_chroma": ("colored shadows", "colorless shadows"),
    "color_detail": ("strokes of contrasting color", "little color contrast from stroke to stroke"),
    "color_over_light": ("forms modeled by color", "forms modeled by light and shade"),
    "texture_over_form": ("visible strokes", "smooth surfaces"),
    "anisotropy": ("strokes that share directions", "surfaces without direction"),
    "contour_hardness": ("hard contours", "soft contours"),
}


@dataclass(frozen=True, kw_only=True)
class LevelEstimate:
    """``level`` is 1 (realistic) to 10 (expressionist), in tenths; ``reasons``, strongest first, say why."""

    level: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One measurement's part: ``weight`` levels for each ``deviation`` that it is above ``mean``."""

    mean: float
    deviation: float
    weight: float

    def contribution(self, value: float) -> float:
        """The levels that a value adds or takes."""
        distance = (value - self.mean) / self.deviation
        return self.weight * min(max(distance, -_FARTHEST), _FARTHEST)


@dataclass(frozen=True, kw_only=True)
class LevelModel:
    """The level of an average painting and the terms that are added to it."""

    average: float
    terms: Mapping[str, Term]

    def estimate(self, features: Mapping[str, float]) -> LevelEstimate:
        """The level for named measurements."""
        parts = {name: term.contribution(features[name]) for name, term in self.terms.items()}
        level = min(max(self.average + sum(parts.values()), LEVEL_WEAK), LEVEL_STRONG)
        return LevelEstimate(level=round(level, 1), reasons=_reasons(parts, features, self.terms))


@functools.cache
def level_model() -> LevelModel:
    """The model that was calibrated."""
    text = resources.files("painterly_harmonize.algorithm").joinpath("level_model.json").read_text("utf-8")
    data = json.loads(text)
    return LevelModel(average=data["average"], terms={name: Term(**term) for name, term in data["terms"].items()})


@torch.no_grad()
def estimate_level(painting: Tensor) -> LevelEstimate:
    """Estimate the level of a painting, RGB float32 1×3×H×W in [0, 1]. The same picture gives the same level."""
    return level_model().estimate(asdict(measure(painting)))


def _reasons(parts: Mapping[str, float], features: Mapping[str, float], terms: Mapping[str, Term]) -> tuple[str, ...]:
    """The largest contributions in words, with the levels that they add or take."""
    largest = sorted(parts, key=lambda name: -abs(parts[name]))[:_MOST_REASONS]
    told = tuple(
        f"{WORDS[name][features[name] < terms[name].mean]} ({parts[name]:+.1f})"
        for name in largest
        if abs(parts[name]) >= _LEAST_CONTRIBUTION
    )
    return told or ("in every measure like an average painting",)
