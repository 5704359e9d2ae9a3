"""From the painting's noise and the stylization level to the second pass's weights. Source: section 3.7."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from torch import Tensor

# Stylization levels of weak, medium and strong styles (section 3.7).
LEVEL_WEAK, LEVEL_MEDIUM, LEVEL_STRONG = 1.0, 5.0, 10.0
_MAX_EXPONENT = 700.0


@dataclass(frozen=True, kw_only=True)
class Pass2Weights:
    """Weights of the unit-norm gradients: content, style (each of 4 taps), histogram (each of 2), total variation."""

    content: float
    style: float
    histogram: float
    total_variation: float

    def as_dict(self) -> dict[str, float]:
        """The four weights by the names of their terms."""
        return asdict(self)


def painting_noise(painting: Tensor) -> float:
    """Lower median of ``(dx² + dy²) / 2`` over all pixels and channels of a 1×3×H×W painting in [0, 1]."""
    dx = painting[..., :-1, :-1] - painting[..., :-1, 1:]
    dy = painting[..., :-1, :-1] - painting[..., 1:, :-1]
    return float(((dx.square() + dy.square()) / 2).median())


def total_variation_level(noise: float) -> float:
    """``10 / (1 + exp(10⁴ · noise − 25))``: near 10 for smooth, near 0 for noisy paintings."""
    return 10 / (1 + math.exp(min(1e4 * noise - 25, _MAX_EXPONENT)))


def pass2_weights(
    level: float, noise: float, *, content: float = 1.0, histogram_by_noise: bool = False
) -> Pass2Weights:
    """The weights for a stylization level of 1 to 10 and a painting's noise.

    The histogram's is the level, or with ``histogram_by_noise`` the authors' ``(10 - total_variation_level) · level``.
    """
    smoothness = total_variation_level(noise)
    return Pass2Weights(
        content=content,
        style=level,
        histogram=(10 - smoothness if histogram_by_noise else 1) * level,
        total_variation=smoothness * level,
    )


def level_from_probabilities(weak: float, medium: float, strong: float) -> float:
    """The stylization level that a style classifier's probabilities stand for: their mean level."""
    return weak * LEVEL_WEAK + medium * LEVEL_MEDIUM + strong * LEVEL_STRONG
