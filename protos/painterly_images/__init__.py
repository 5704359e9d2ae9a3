"""Encoded images to arrays and back, safely: the one decoder of both services."""

from painterly_images.decoding import DecodeMode, decode
from painterly_images.encoding import encode, has_alpha, is_lossy
from painterly_images.sizes import require_same_size

__all__ = ["DecodeMode", "decode", "encode", "has_alpha", "is_lossy", "require_same_size"]
