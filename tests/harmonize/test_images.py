"""Pictures between messages and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import features

from painterly.errors import ServiceError, reason_name
from painterly.limits import MAX_MESSAGE_BYTES
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly_harmonize import images
from painterly_harmonize.algorithm.errors import AlgorithmError, MaskEmpty, MaskFull, MaskNotContained
from painterly_harmonize.images import (
    decode_mask,
    encode_frame,
    encode_result,
    mask_to_tensor,
    preview,
    read_pictures,
    require_sendable,
    to_tensor,
)
from painterly_images import decode
from tests.harmonize.toy import png, request, scene

CPU = torch.device("cpu")


def test_pixels_become_planes_of_fractions() -> None:
    pixels = np.array([[[0, 51, 255], [102, 153, 204]]], dtype=np.uint8)
    tensor = to_tensor(pixels, CPU)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((1, 3, 1, 2), torch.float32, True)
    expected = torch.tensor([[[[0.0, 0.4]], [[0.2, 0.6]], [[1.0, 0.8]]]])
    assert torch.equal(tensor, expected)


def test_every_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(preview(to_tensor(levels, CPU), 16), levels)


def test_a_mask_is_inside_from_half_bright_on() -> None:
    gray = np.full((16, 16), 127, dtype=np.uint8)
    gray[3, 5] = 128
    mask = decode_mask(png(gray), "mask")
    assert mask.dtype == np.bool_
    assert np.argwhere(mask).tolist() == [[3, 5]]
    tensor = mask_to_tensor(mask, CPU)
    assert (tensor.shape, tensor.dtype, float(tensor.sum()), float(tensor[0, 0, 3, 5])) == (
        (1, 1, 16, 16),
        torch.float32,
        1.0,
        1.0,
    )


def test_a_preview_is_reduced_by_area() -> None:
    image = torch.tensor([0.0, 1.0, 0.25, 0.75]).repeat(2, 1).expand(1, 3, 2, 4)
    assert preview(image, 2).tolist() == [[[128] * 3, [128] * 3]]


def test_a_small_preview_is_not_enlarged_and_clipped() -> None:
    image = torch.tensor([[-0.5, 1.5]]).expand(1, 3, 1, 2)
    assert preview(image, 768).tolist() == [[[0] * 3, [255] * 3]]


def test_a_request_is_read_whole() -> None:
    pictures = scene()
    message = request(pb.RunPass2Request)
    dilated = np.ones_like(pictures.mask)
    message.dilated_mask.CopyFrom(png(dilated))
    message.pass1_result.CopyFrom(png(pictures.painting))
    read = read_pictures(message)
    assert np.array_equal(read.composite, pictures.composite)
    assert np.array_equal(read.painting, pictures.painting)
    assert np.array_equal(read.mask, pictures.mask)
    assert np.array_equal(read.dilated_mask, dilated)  # type: ignore[arg-type]
    assert np.array_equal(read.pass1_result, pictures.painting)  # type: ignore[arg-type]
    inputs = read.to_inputs(CPU)
    assert torch.equal(inputs.composite, to_tensor(pictures.composite, CPU))
    assert inputs.pass1_result is not None
    assert float(inputs.mask.sum()) == 24 * 20


def test_optional_pictures_may_be_missing() -> None:
    read = read_pictures(request(pb.HarmonizeRequest))
    assert read.dilated_mask is None
    assert read.pass1_result is None
    assert read.to_inputs(CPU).dilated_mask is None


def test_masks_are_checked_by_the_algorithms_own_rules() -> None:
    pictures = scene()
    message = request(pb.HarmonizeRequest)
    message.mask.CopyFrom(png(np.zeros_like(pictures.mask)))
    with pytest.raises(MaskEmpty):
        read_pictures(message)
    message.mask.CopyFrom(png(np.ones_like(pictures.mask)))
    with pytest.raises(MaskFull):
        read_pictures(message)
    message.mask.CopyFrom(png(pictures.mask))
    dilated = pictures.mask.copy()
    dilated[20, 24] = False
    message.dilated_mask.CopyFrom(png(dilated))
    with pytest.raises(MaskNotContained):
        read_pictures(message)


def test_a_picture_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(ServiceError, match="painting is 63x48 pixels; its long side must have at least 64") as caught:
        read_pictures(request(pb.HarmonizeRequest, of=scene(63, 48)))
    assert reason_name(caught.value.reason) == "IMAGE_SIZE_OUT_OF_RANGE"
    assert caught.value.metadata == {"field": "painting", "value": "63x48"}


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "BMP"])
def test_results_in_lossless_formats_keep_every_byte(name: str) -> None:
    pixels = scene().composite
    image = encode_result(pixels, image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{name}"))
    assert image_pb2.ImageFormat.Name(image.format) == f"IMAGE_FORMAT_{name}"
    assert np.array_equal(decode(image, "image", "RGB"), pixels)


@pytest.mark.parametrize("chosen", [image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_AVIF])
def test_a_lossy_result_is_what_was_asked_for(chosen: image_pb2.ImageFormat.ValueType) -> None:
    image = encode_result(scene().composite, chosen)
    assert (image.format, image.width_px, image.height_px) == (chosen, 80, 64)
    assert not np.array_equal(decode(image, "image", "RGB"), scene().composite)


def test_a_lossless_result_that_changed_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = scene().composite
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    monkeypatch.setattr(images, "encode", lambda *_: png(other))
    with pytest.raises(RuntimeError, match="encoding as IMAGE_FORMAT_PNG changed the picture"):
        encode_result(pixels, image_pb2.IMAGE_FORMAT_PNG)


def test_frames_are_smaller_than_results() -> None:
    pixels = scene().composite
    frame, result = (encode(pixels, image_pb2.IMAGE_FORMAT_JPEG) for encode in (encode_frame, encode_result))
    assert len(frame.data) < len(result.data)


def test_a_result_that_does_not_fit_into_a_message_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images._SENDABLE_BYTES < MAX_MESSAGE_BYTES
    monkeypatch.setattr(images, "_SENDABLE_BYTES", 12_000)
    noise = scene().painting
    with pytest.raises(ServiceError, match="80x64 pixels; its result as IMAGE_FORMAT_PNG would not fit") as caught:
        require_sendable(noise, image_pb2.IMAGE_FORMAT_JPEG)
    assert reason_name(caught.value.reason) == "IMAGE_SIZE_OUT_OF_RANGE"
    flat = np.zeros_like(noise)
    require_sendable(flat, image_pb2.IMAGE_FORMAT_PNG)
    with pytest.raises(ServiceError, match="as IMAGE_FORMAT_BMP would not fit"):
        require_sendable(flat, image_pb2.IMAGE_FORMAT_BMP)


def test_a_picture_wider_than_webp_allows_is_refused_before_the_work() -> None:
    wide = np.zeros((16, 16_384, 3), dtype=np.uint8)
    require_sendable(wide, image_pb2.IMAGE_FORMAT_PNG)
    with pytest.raises(ServiceError, match="WebP"):
        require_sendable(wide, image_pb2.IMAGE_FORMAT_WEBP)


def test_a_format_that_this_server_cannot_write_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.zeros((16, 16, 3), dtype=np.uint8)
    require_sendable(small, image_pb2.IMAGE_FORMAT_AVIF)
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(ServiceError, match="no AVIF codec") as caught:
        require_sendable(small, image_pb2.IMAGE_FORMAT_AVIF)
    assert (reason_name(caught.value.reason), caught.value.field) == ("FORMAT_UNSUITABLE", "stream.result_format")


def test_a_style_mask_is_read_and_checked() -> None:
    message = request(pb.HarmonizeRequest)
    style = np.zeros(scene().mask.shape, dtype=np.uint8)
    message.style_mask.CopyFrom(png(style))
    with pytest.raises(MaskEmpty, match="style_mask"):
        read_pictures(message)
    style[:, :20] = 255
    message.style_mask.CopyFrom(png(style))
    found = read_pictures(message).to_inputs(CPU).style_mask
    assert found is not None
    assert torch.equal(found[0, 0] > 0, torch.from_numpy(style > 0))
    message.parameters.style_region.width_fraction = 0.5
    with pytest.raises(AlgorithmError, match=r"parameters\.style_region"):
        read_pictures(message)
    message.style_mask.CopyFrom(png(style[:-1]))
    with pytest.raises(ServiceError, match="style_mask"):
        read_pictures(message)
