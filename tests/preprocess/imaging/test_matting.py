"""painterly_preprocess.imaging: matting, u2net and grabcut; real sessions of a network whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from painterly_preprocess.imaging.cutout_params import Box
from painterly_preprocess.imaging.errors import AlphaMissing, MaskEmpty
from painterly_preprocess.imaging.grabcut import GrabCutMatting
from painterly_preprocess.imaging.matting import AlphaMatting, MaskMatting
from painterly_preprocess.imaging.u2net import Session, U2NetMatting

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def red_detector() -> Session:
    """A network with U²-Net's input and output that undoes the normalization and returns the red channel."""
    constants: dict[str, NDArray[Any]] = {
        "red": np.array([0], dtype=np.int64),
        "deviation": np.array([0.229], dtype=np.float32),
        "mean": np.array([0.485], dtype=np.float32),
        "zero": np.array(0, dtype=np.float32),
        "one": np.array(1, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["photo", "red"], ["normalized"], axis=1),
        helper.make_node("Mul", ["normalized", "deviation"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["share"]),
        helper.make_node("Clip", ["share", "zero", "one"], ["saliency"]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, 320, 320])],
        [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, [1, 1, 320, 320])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session


def photo_of(red: NDArray[np.generic]) -> Pixels:
    """Opaque photo with the given red channel and a little green everywhere."""
    photo = np.zeros((*red.shape, 4), dtype=np.uint8)
    photo[..., 0], photo[..., 1], photo[..., 3] = red, 40, 255
    return photo


def disc(height: int, width: int, radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    inside: NDArray[np.bool_] = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 <= radius**2
    return inside


def overlap(alpha: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of what is at least half opaque."""
    found = alpha >= 0.5
    return float((found & truth).sum() / (found | truth).sum())


def test_alpha_is_the_photos_own() -> None:
    photo = photo_of(np.zeros((4, 5)))
    photo[0, :, 3] = [0, 51, 102, 153, 255]
    alpha = AlphaMatting().estimate_alpha(photo)
    np.testing.assert_allclose(alpha[0], [0, 0.2, 0.4, 0.6, 1], atol=1e-6)
    assert alpha.dtype == np.float32
    assert (alpha[1:] == 1).all()


def test_alpha_of_an_opaque_photo_is_missing() -> None:
    with pytest.raises(AlphaMissing) as caught:
        AlphaMatting().estimate_alpha(photo_of(np.zeros((4, 5))))
    assert caught.value.field == "photo"


def test_alpha_of_a_transparent_photo_is_empty() -> None:
    photo = photo_of(np.zeros((4, 5)))
    photo[..., 3] = 127
    with pytest.raises(MaskEmpty):
        AlphaMatting().estimate_alpha(photo)


def test_a_mask_is_the_alpha() -> None:
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[0] = [0, 51, 102, 153, 255]
    alpha = MaskMatting(mask).estimate_alpha(photo_of(np.zeros((4, 5))))
    np.testing.assert_allclose(alpha[0], [0, 0.2, 0.4, 0.6, 1], atol=1e-6)
    assert not alpha[1:].any()


def test_a_mask_on_a_transparent_photo() -> None:
    photo = photo_of(np.zeros((4, 5)))
    photo[:, 2:, 3] = 0
    alpha = MaskMatting(np.full((4, 5), 255, dtype=np.uint8)).estimate_alpha(photo)
    assert alpha[0].tolist() == [1, 1, 0, 0, 0]


def test_an_empty_mask() -> None:
    with pytest.raises(MaskEmpty) as caught:
        MaskMatting(np.full((4, 5), 127, dtype=np.uint8)).estimate_alpha(photo_of(np.zeros((4, 5))))
    assert caught.value.field == "mask"


def test_network_looks_into_the_box_alone(red_detector: Session) -> None:
    red = np.zeros((200, 400), dtype=np.uint8)
    red[80:120, 40:80] = 255
    red[60:140, 280:360] = 200
    box = Box(left_fraction=0.6, top_fraction=0.1, right_fraction=1, bottom_fraction=0.9)
    alpha = U2NetMatting(red_detector, box).estimate_alpha(photo_of(red))
    assert overlap(alpha, red == 200) > 0.95
    assert not alpha[:, :200].any()


def test_network_sees_the_normalized_photo(red_detector: Session) -> None:
    # Bands of red 0, 51, … 204; the largest value becomes 1, so the network answers 0, 1/4, … 1.
    red = np.tile(np.repeat(np.arange(0, 255, 51), 64), (320, 1))
    alpha = U2NetMatting(red_detector).estimate_alpha(photo_of(red))
    # Stretched so that 0.05 becomes 0 and 0.95 becomes 1.
    expected = [0, 0.2 / 0.9, 0.45 / 0.9, 0.7 / 0.9, 1]
    np.testing.assert_allclose(alpha[160, 32::64], expected, atol=1e-4)
    assert alpha.dtype == np.float32


@pytest.mark.parametrize(("height", "width"), [(400, 600), (97, 211), (16, 16)])
def test_network_alpha_has_the_photos_size(red_detector: Session, height: int, width: int) -> None:
    truth = disc(height, width, 0.45 * min(height, width))
    alpha = U2NetMatting(red_detector).estimate_alpha(photo_of(truth * 255))
    assert alpha.shape == (height, width)
    assert alpha.min() == 0
    assert alpha.max() == 1
    assert overlap(alpha, truth) > 0.93


def test_small_object_gets_a_second_look(red_detector: Session) -> None:
    # Lines 4 px wide and 4 px apart: gone at 320 px for the whole photo, plain at 320 px for their surroundings.
    red = np.zeros((2560, 2560), dtype=np.uint8)
    red[1200:1360:8] = red[1201:1360:8] = red[1202:1360:8] = red[1203:1360:8] = 255
    red[:, :1180] = red[:, 1380:] = 0
    alpha = U2NetMatting(red_detector).estimate_alpha(photo_of(red))
    assert overlap(alpha, red == 255) > 0.9
    assert not alpha[:1100].any()


@pytest.mark.parametrize("method", ["network", "grabcut"])
def test_transparent_parts_stay_transparent(red_detector: Session, method: str) -> None:
    photo, truth = two_textures(96, 96)
    photo[:, 40:, 3] = 0
    matting = U2NetMatting(red_detector) if method == "network" else GrabCutMatting()
    alpha = matting.estimate_alpha(photo)
    assert not alpha[:, 40:].any()
    assert alpha[48, 30] > 0.5
    assert truth[48, 30]


def test_network_that_sees_nothing(red_detector: Session) -> None:
    photo = photo_of(np.full((32, 32), 50))
    photo[0, 0] = (0, 255, 255, 255)
    with pytest.raises(MaskEmpty, match="no foreground") as caught:
        U2NetMatting(red_detector).estimate_alpha(photo)
    assert caught.value.field == "photo"


def two_textures(height: int, width: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """A red disc on green, both noisy."""
    truth = disc(height, width, 0.3 * min(height, width))
    photo = np.full((height, width, 4), (60, 140, 60, 255), dtype=np.uint8)
    photo[truth] = (190, 50, 40, 255)
    photo[..., :3] += np.random.default_rng(5).integers(0, 50, (height, width, 3), dtype=np.uint8)
    return photo, truth


@pytest.mark.parametrize(("height", "width"), [(120, 160), (900, 700)])
def test_grabcut_finds_a_disc(height: int, width: int) -> None:
    photo, truth = two_textures(height, width)
    alpha = GrabCutMatting().estimate_alpha(photo)
    assert alpha.shape == truth.shape
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert overlap(alpha, truth) > 0.97
    assert not alpha[0].any()


def test_grabcut_repeats_itself() -> None:
    photo, _ = two_textures(90, 110)
    first = GrabCutMatting().estimate_alpha(photo)
    GrabCutMatting().estimate_alpha(two_textures(50, 60)[0])
    np.testing.assert_array_equal(GrabCutMatting().estimate_alpha(photo), first)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 4000), (4000, 16)])
def test_grabcut_bears_extreme_shapes(height: int, width: int) -> None:
    photo = two_textures(height, width)[0]
    try:
        alpha = GrabCutMatting().estimate_alpha(photo)
    except MaskEmpty as error:
        assert "no foreground" in str(error)  # noqa: PT017
    else:
        assert alpha.shape == (height, width)


def test_grabcut_finds_nothing_in_a_plain_photo() -> None:
    with pytest.raises(MaskEmpty) as caught:
        GrabCutMatting().estimate_alpha(photo_of(np.full((64, 64), 120)))
    assert caught.value.field == "photo"


def two_discs() -> tuple[Pixels, NDArray[np.bool_], NDArray[np.bool_]]:
    """Two red discs on green, all noisy: on the left and on the right."""
    left, right = (np.roll(disc(120, 240, 25), shift, axis=1) for shift in (-60, 60))
    photo = np.full((120, 240, 4), (60, 140, 60, 255), dtype=np.uint8)
    photo[left | right] = (190, 50, 40, 255)
    photo[..., :3] += np.random.default_rng(5).integers(0, 50, (120, 240, 3), dtype=np.uint8)
    return photo, left, right


def test_grabcut_keeps_to_its_box() -> None:
    photo, left, _ = two_discs()
    box = Box(left_fraction=0.1, top_fraction=0.2, right_fraction=0.4, bottom_fraction=0.8)
    alpha = GrabCutMatting(box).estimate_alpha(photo)
    assert overlap(alpha, left) > 0.97
    assert not alpha[:, 100:].any()


def test_grabcut_obeys_strokes() -> None:
    photo, left, right = two_discs()
    # The left disc is marked as background, a green patch as foreground; the right disc is free to be found.
    marked, patch = left & disc(120, 240, 200), np.zeros_like(left)
    patch[5:15, 110:130] = True
    alpha = GrabCutMatting(foreground=patch | right, background=marked).estimate_alpha(photo)
    assert alpha[right].min() > 0.4
    assert alpha[marked].max() < 0.6
    assert alpha[8:12, 115:125].min() == 1


def test_grabcut_strokes_that_contradict() -> None:
    photo, left, _ = two_discs()
    with pytest.raises(MaskEmpty, match="overlap") as caught:
        GrabCutMatting(foreground=left, background=left).estimate_alpha(photo)
    assert caught.value.field == "grab_cut.background_strokes"


def test_grabcut_strokes_that_leave_nothing() -> None:
    photo, left, _ = two_discs()
    with pytest.raises(MaskEmpty) as caught:
        GrabCutMatting(background=np.ones_like(left)).estimate_alpha(photo)
    assert caught.value.field == "grab_cut"
