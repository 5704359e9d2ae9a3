"""Gradient injection: loss gradients enter where they arise and are masked there. Source: sections 2.3 and 3.6."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_EPSILON = 1e-8


def unit_norm(gradient: Tensor, weight: float) -> Tensor:
    """``weight · g / (‖g‖₂ + 1e-8)``; a zero gradient stays exactly zero. Source: section 3.6."""
    scale: Tensor = weight / (torch.linalg.vector_norm(gradient) + _EPSILON)
    return gradient * scale


class _Inject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, mask)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient, mask = ctx.saved_tensors
        total: Tensor = mask * (gradient + upstream[0])
        return total, None, None


def inject(features: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    """The features unchanged; on the way back ``mask ⊙ (gradient + gradient from deeper layers)``.

    ``features`` and ``gradient`` are 1×C×h×w, ``mask`` is 1×1×h×w.
    """
    result: Tensor = _Inject.apply(features, gradient, mask)
    return result
