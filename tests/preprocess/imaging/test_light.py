"""painterly_preprocess.imaging.light: values worked out by hand, and the way back."""

from __future__ import annotations

import numpy as np

from painterly_preprocess.imaging import light


def test_known_values() -> None:
    values = np.array([0, 10, 128, 255], dtype=np.uint8)
    # 10/255/12.92 and ((128/255 + 0.055)/1.055)^2.4, times 255.
    np.testing.assert_allclose(light.to_light(values), [0, 0.773994, 55.0442, 255], rtol=1e-4)


def test_every_value_comes_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.abs(light.from_light(light.to_light(values)) - values).max() < 1e-3


def test_too_much_and_too_little_light_is_cut_off() -> None:
    np.testing.assert_allclose(light.from_light(np.array([-3, 300], dtype=np.float32)), [0, 255], atol=1e-3)
