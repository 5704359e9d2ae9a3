"""Image messages to the algorithm's tensors and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from painterly.limits import MAX_MESSAGE_BYTES
from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.masks import area_resize, reduced_size, to_bytes
from painterly_harmonize.algorithm.stage import MIN_LONG_SIDE_PX, Inputs
from painterly_images import decode, encode, is_lossy, require_same_size

Request = pb.RunPass1Request | pb.RunPass2Request | pb.HarmonizeRequest

# Uncompressed formats exceed the pixels by a header at most; PNG may exceed them by little, hence the rest of room.
_SENDABLE_BYTES = MAX_MESSAGE_BYTES * 9 // 10
# Every format holds a picture with sides up to this.
_ALL_FORMATS_SIDE_PX = 16_383


# The painting first: the others must have its size.
_NAMES = ("painting", "composite", "mask", "dilated_mask", "pass1_result", "style_mask")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The decoded pictures of one request: RGB uint8 H×W×3, masks bool H×W (inside is True), all of one size."""

    composite: NDArray[np.uint8]
    painting: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    dilated_mask: NDArray[np.bool_] | None = None
    pass1_result: NDArray[np.uint8] | None = None
    style_mask: NDArray[np.bool_] | None = None

    def to_inputs(self, device: torch.device) -> Inputs:
        """Bring the pictures to the device. Raises what :class:`Inputs` raises."""
        return Inputs(
            composite=to_tensor(self.composite, device),
            painting=to_tensor(self.painting, device),
            mask=mask_to_tensor(self.mask, device),
            dilated_mask=None if self.dilated_mask is None else mask_to_tensor(self.dilated_mask, device),
            pass1_result=None if self.pass1_result is None else to_tensor(self.pass1_result, device),
            style_mask=None if self.style_mask is None else mask_to_tensor(self.style_mask, device),
        )


def read_pictures(request: Request) -> Pictures:
    """Decode a request's images, and check all that can be checked without computing.

    Raises: ServiceError of decoding, IMAGE_SIZE_MISMATCH, IMAGE_SIZE_OUT_OF_RANGE; the algorithm's MaskEmpty,
    MaskFull, MaskNotContained, AlgorithmError for two sources of style.
    """
    pictures = Pictures(
        painting=decode(request.painting, "painting", "RGB"),
        composite=decode(request.composite, "composite", "RGB"),
        mask=decode_mask(request.mask, "mask"),
        dilated_mask=decode_mask(request.dilated_mask, "dilated_mask") if request.HasField("dilated_mask") else None,
        pass1_result=(
            decode(request.pass1_result, "pass1_result", "RGB") if isinstance(request, pb.RunPass2Request) else None
        ),
        style_mask=decode_mask(request.style_mask, "style_mask") if request.HasField("style_mask") else None,
    )
    _check(pictures)
    if pictures.style_mask is not None and request.parameters.HasField("style_region"):
        raise AlgorithmError("style_mask", "is given beside parameters.style_region; leave one of them out")
    return pictures


def read_evaluation(request: pb.EvaluateRequest) -> tuple[NDArray[np.uint8], Pictures]:
    """Decode a request's images and check them as :func:`read_pictures` does; raises the same.

    First the finished picture, uint8 H×W×3, then what it was made from.
    """
    pictures = Pictures(
        painting=decode(request.painting, "painting", "RGB"),
        composite=decode(request.composite, "composite", "RGB"),
        mask=decode_mask(request.mask, "mask"),
        dilated_mask=decode_mask(request.dilated_mask, "dilated_mask") if request.HasField("dilated_mask") else None,
        style_mask=decode_mask(request.style_mask, "style_mask") if request.HasField("style_mask") else None,
    )
    result = decode(request.result, "result", "RGB")
    _check(pictures, result=result)
    return result, pictures


def _check(pictures: Pictures, **more: NDArray[np.generic] | None) -> None:
    given = {name: pixels for name in _NAMES if (pixels := getattr(pictures, name)) is not None}
    require_same_size({**given, **{name: pixels for name, pixels in more.items() if pixels is not None}})
    _require_long_side(pictures.painting, "painting")
    # The checks of Inputs look at sizes and zeros alone, so views of the bytes will do and nothing is copied.
    Inputs(**{name: _view(pixels) for name, pixels in given.items()})


def read_masks(request: pb.PlanRequest) -> tuple[Tensor, Tensor | None]:
    """Decode the masks of a request without pictures, float32 1×1×H×W of 0 and 1, and check them as above."""
    mask = decode_mask(request.mask, "mask")
    dilated = decode_mask(request.dilated_mask, "dilated_mask") if request.HasField("dilated_mask") else None
    if dilated is not None:
        require_same_size({"mask": mask, "dilated_mask": dilated})
    _require_long_side(mask, "mask")
    tensors = [None if each is None else mask_to_tensor(each, torch.device("cpu")) for each in (mask, dilated)]
    assert tensors[0] is not None
    Inputs(composite=tensors[0], painting=tensors[0], mask=tensors[0], dilated_mask=tensors[1])
    return tensors[0], tensors[1]


def _view(pixels: NDArray[np.generic]) -> Tensor:
    tensor = torch.from_numpy(pixels)
    return (tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor[None])[None]


def _require_long_side(pixels: NDArray[np.generic], field: str) -> None:
    height, width = pixels.shape[:2]
    if max(height, width) < MIN_LONG_SIDE_PX:
        raise _size_error(pixels, field, f"its long side must have at least {MIN_LONG_SIDE_PX} pixels; enlarge it")


def _size_error(pixels: NDArray[np.generic], field: str, rule: str) -> ServiceError:
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    return ServiceError(
        error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
        f"{field} is {size} pixels; {rule}",
        field=field,
        metadata={"value": size},
    )


def require_sendable(painting: NDArray[np.uint8], result_format: image_pb2.ImageFormat.ValueType) -> None:
    """Refuse a picture whose results could not be sent, before hours are spent on it.

    The painting, uint8 H×W×3, stands for the results: of its size and much of the same content. Each goes out in one
    message, the stages' as PNG.

    Raises: ServiceError IMAGE_SIZE_OUT_OF_RANGE; FORMAT_UNSUITABLE where this server cannot write the format.
    """
    encode(painting[:1, :1], result_format)
    if painting.nbytes <= _SENDABLE_BYTES and max(painting.shape) <= _ALL_FORMATS_SIDE_PX:
        return
    for image_format in {image_pb2.IMAGE_FORMAT_PNG, result_format}:
        if len(encode(painting, image_format).data) > _SENDABLE_BYTES:
            name = image_pb2.ImageFormat.Name(image_format)
            raise _size_error(painting, "painting", f"its result as {name} would not fit into a message; reduce it")


def decode_mask(image: image_pb2.Image, field: str) -> NDArray[np.bool_]:
    """Decode a mask: bool H×W, True where at least half bright. Raises: ServiceError of decoding."""
    return decode(image, field, "L") >= 128


def to_tensor(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """RGB uint8 H×W×3 to float32 1×3×H×W in [0, 1] on the device."""
    # Bytes travel to the device; they grow to floats there.
    return _view(pixels).to(device).to(torch.float32, memory_format=torch.contiguous_format) / 255


def mask_to_tensor(mask: NDArray[np.bool_], device: torch.device) -> Tensor:
    """Bool H×W to float32 1×1×H×W of 0 and 1 on the device."""
    return _view(mask).to(device).to(torch.float32)


def preview(image: Tensor, long_side: int) -> NDArray[np.uint8]:
    """RGB float32 1×3×h×w in [0, 1] to uint8 H×W×3 of at most ``long_side`` pixels per side, reduced by area."""
    height, width = image.shape[-2:]
    with torch.no_grad():
        return to_bytes(area_resize(image.detach(), reduced_size(height, width, long_side))).numpy()


def encode_result(pixels: NDArray[np.uint8], image_format: image_pb2.ImageFormat.ValueType) -> image_pb2.Image:
    """Encode a finished picture; what a lossless format would give back is compared with ``pixels``.

    Raises: RuntimeError when the encoded picture is not the same, which only a bug could cause.
    """
    image = encode(pixels, image_format)
    if not is_lossy(image.format, None) and not np.array_equal(decode(image, "image", "RGB"), pixels):
        raise RuntimeError(f"encoding as {image_pb2.ImageFormat.Name(image.format)} changed the picture")
    return image


def encode_frame(pixels: NDArray[np.uint8], image_format: image_pb2.ImageFormat.ValueType) -> image_pb2.Image:
    """Encode a preview."""
    return encode(pixels, image_format, preview=True)
