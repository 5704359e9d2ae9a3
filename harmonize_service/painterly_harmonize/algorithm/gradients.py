"""The normalization of the second pass's gradients. Source: section 3.6."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-8


def unit_norm(gradient: Tensor, weight: float) -> Tensor:
    """``weight · g / (‖g‖₂ + 1e-8)``; a zero gradient stays exactly zero. Source: section 3.6."""
    scale: Tensor = weight / (torch.linalg.vector_norm(gradient) + _EPSILON)
    return gradient * scale
