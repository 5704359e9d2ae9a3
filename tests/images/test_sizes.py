"""painterly_images.sizes."""

from __future__ import annotations

import numpy as np
import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_images import require_same_size


def test_same_sizes_pass_whatever_the_channels() -> None:
    require_same_size(
        {"painting": np.zeros((20, 30, 3)), "composite": np.zeros((20, 30, 3)), "mask": np.zeros((20, 30))}
    )


def test_the_first_to_differ_is_named() -> None:
    images = {"painting": np.zeros((20, 30, 3)), "composite": np.zeros((20, 30, 3)), "mask": np.zeros((30, 20))}
    with pytest.raises(ServiceError) as caught:
        require_same_size(images)
    assert caught.value.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_MISMATCH
    assert caught.value.metadata == {"field": "mask", "value": "20x30", "expected": "30x20"}
    assert caught.value.message == "mask is 20x30 pixels but must be 30x20, the size of painting"
