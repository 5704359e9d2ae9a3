"""Parameters of cutting out, validated where they are made. Defaults live here alone.

Places in a photo are fractions of its width and height, from the left and from the top, after EXIF orientation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from painterly_preprocess.imaging.errors import ParameterError
from painterly_preprocess.imaging.params import require_range


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a photo. Raises ParameterError outside 0 to 1."""

    x_fraction: float
    y_fraction: float

    def __post_init__(self) -> None:
        for name in ("x_fraction", "y_fraction"):
            require_range(name, getattr(self, name), 0, 1)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in a photo. Raises ParameterError outside 0 to 1, and when right or bottom does not lie beyond."""

    left_fraction: float
    top_fraction: float
    right_fraction: float
    bottom_fraction: float

    def __post_init__(self) -> None:
        for name in ("left_fraction", "top_fraction", "right_fraction", "bottom_fraction"):
            require_range(name, getattr(self, name), 0, 1)
        for low, high in (("left_fraction", "right_fraction"), ("top_fraction", "bottom_fraction")):
            if getattr(self, high) <= getattr(self, low):
                raise ParameterError(high, getattr(self, high), f"must be greater than {low}")

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the pixels that the box touches, at least one of each."""
        left, right = _span(self.left_fraction, self.right_fraction, width)
        top, bottom = _span(self.top_fraction, self.bottom_fraction, height)
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, kw_only=True)
class ObjectSelection:
    """Which of several objects to keep: all, or at most one of ``largest``, ``point`` and ``box``.

    ``box`` keeps the objects of which at least half lies inside it. Of the objects that are kept, those smaller than
    ``island_fraction`` (0 to 1) of the largest are dropped; None leaves that to the method. Raises ParameterError.
    """

    largest: bool = False
    point: Point | None = None
    box: Box | None = None
    island_fraction: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("largest", "point", "box") if getattr(self, name)]
        if len(given) > 1:
            raise ParameterError(given[1], "set", f"cannot be combined with {given[0]}; give one of them")
        if self.island_fraction is not None:
            require_range("island_fraction", self.island_fraction, 0, 1)


@dataclass(frozen=True, kw_only=True)
class ChromaKey:
    """A plain backdrop. ``color`` is RGB, 0 to 255; None takes it from the photo's border. Raises ParameterError.

    A pixel whose chrominance is nearer to the backdrop's than ``tolerance`` (Lab units, 1 to 100) is background, beyond
    twice that foreground; None derives it from how much the border itself varies.
    """

    color: tuple[int, int, int] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        for name, value in zip(("red", "green", "blue"), self.color or (), strict=False):
            require_range(f"color.{name}", value, 0, 255)
        if self.tolerance is not None:
            require_range("tolerance", self.tolerance, 1, 100)


@dataclass(frozen=True, kw_only=True)
class CutOutParams:
    """What is done to a matte once it is found. ``refine_edges`` None leaves that to the method."""

    refine_edges: bool | None = None
    selection: ObjectSelection = field(default_factory=ObjectSelection)
    crop_to_content: bool = False


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    first = min(int(low * length), length - 1)
    return first, max(first + 1, min(round(high * length), length))
