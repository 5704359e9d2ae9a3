"""A small fixed network of VGG-16's shape, and small pictures, for tests that must not depend on real weights."""

from __future__ import annotations

import torch
from torch import Tensor

from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, FeatureNetwork, InputScale, LayerPlan, build_network

# The convolutions of VGG-16 and VGG-19 up to relu5_1, with a fiftieth of their channels.
TOY_PLAN: LayerPlan = (6, 6, "M", 8, 8, "M", 8, 8, 8, "M", 10, 10, 10, "M", 10)
TOY19_PLAN: LayerPlan = (6, 6, "M", 8, 8, "M", 8, 8, 8, 8, "M", 10, 10, 10, 10, "M", 10)


def plan_tensors(plan: LayerPlan, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """Tensors for ``build_network``: scaled to keep activations at the input's size, biased to keep them alive."""
    generator = torch.Generator().manual_seed(seed)
    tensors, block, index, channels = {}, 1, 0, 3
    for kind in plan:
        if isinstance(kind, str):
            block, index = block + 1, 0
            continue
        index += 1
        weight = torch.randn(kind, channels, 3, 3, generator=generator, dtype=torch.float64)
        bias = 20 * torch.rand(kind, generator=generator, dtype=torch.float64)
        tensors[f"conv{block}_{index}.weight"] = (weight * (2 / (9 * channels)) ** 0.5).to(dtype)
        tensors[f"conv{block}_{index}.bias"] = bias.to(dtype)
        channels = kind
    return tensors


def toy_network(
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
    plan: LayerPlan = TOY_PLAN,
    input_scale: InputScale = CAFFE_INPUT,
    layer_dtype: torch.dtype | None = None,
) -> FeatureNetwork:
    """The toy network; the same ``seed`` gives the same weights in every dtype up to rounding."""
    tensors = plan_tensors(plan, dtype=dtype, seed=seed)
    return build_network(plan, tensors, input_scale, name="toy", layer_dtype=layer_dtype)


def picture(height: int, width: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A colorful picture with smooth shapes and some grain, of whole 8-bit levels, 1×3×H×W in [0, 1].

    The grain is such that a painting's total variation level (section 3.7) is neither near 0 nor near 10.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    grain = 0.019 * torch.randn(1, 3, height, width, generator=generator)
    return ((smooth + grain).clamp(0, 1) * 255).round().to(dtype) / 255


def rectangle_mask(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int], *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A 1×1×H×W mask that is 1 in rows and columns from the first up to, without, the second."""
    mask = torch.zeros(1, 1, height, width, dtype=dtype)
    mask[..., rows[0] : rows[1], columns[0] : columns[1]] = 1
    return mask


def toy_inputs(
    height: int = 80, width: int = 64, *, mask: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Inputs:
    """A painting with a part of another picture in it, by default in its middle third, and the mask of that part."""
    if mask is None:
        mask = rectangle_mask(height, width, (height // 3, 2 * height // 3), (width // 3, 2 * width // 3), dtype=dtype)
    painting, photo = (picture(height, width, seed=seed, dtype=dtype) for seed in (0, 1))
    return Inputs(composite=torch.where(mask > 0, photo, painting), painting=painting, mask=mask)
