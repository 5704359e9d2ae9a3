"""What goes into a call and what a unary call returns: enums, parameters, results.

Fields mirror the contract (``painterly/v1/*.proto``), which states every range and default. None means unset: the
server takes its default. Durations are seconds, as their names say. Images are the bytes of an image file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class BackgroundRemovalMethod(str, Enum):
    """How the foreground of a photo is found."""

    AUTO = "auto"
    ALPHA = "alpha"
    MASK = "mask"
    U2NET = "u2net"
    GRABCUT = "grabcut"
    REMOVE_BG = "remove_bg"
    CHROMA_KEY = "chroma_key"


class ImageFormat(str, Enum):
    """The encoding of an image's bytes."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    TIFF = "tiff"
    BMP = "bmp"
    AVIF = "avif"


class Network(str, Enum):
    """The feature network."""

    VGG16 = "vgg16"
    VGG19 = "vgg19"


class Preset(str, Enum):
    """A set of defaults for size and iteration counts; explicit parameters win over it."""

    DRAFT = "draft"
    STANDARD = "standard"
    FULL = "full"


class RefinementGuide(str, Enum):
    """What decides whether neighboring correspondences agree."""

    RGB = "rgb"
    FEATURES = "features"


class Stage(str, Enum):
    """A part of the work of harmonizing."""

    PASS1 = "pass1"
    PASS2 = "pass2"
    POSTPROCESSING = "postprocessing"


class PlacementAnchor(str, Enum):
    """The point of an element that a placement's position is about, and about which it turns."""

    CENTER = "center"
    TOP_LEFT = "top_left"
    TOP = "top"
    TOP_RIGHT = "top_right"
    LEFT = "left"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom_right"


class DilationRule(str, Enum):
    """How a mask is grown."""

    PAPER = "paper"
    CLASSIC = "classic"


class KernelShape(str, Enum):
    """The shape of a classic dilation's kernel."""

    RECTANGLE = "rectangle"
    ELLIPSE = "ellipse"
    CROSS = "cross"


class RemoveBgSize(str, Enum):
    """The resolution of remove.bg's answer, which decides what it charges."""

    AUTO = "auto"
    PREVIEW = "preview"
    FULL = "full"


class RemoveBgType(str, Enum):
    """What remove.bg takes the foreground for."""

    AUTO = "auto"
    PERSON = "person"
    PRODUCT = "product"
    CAR = "car"


@dataclass(frozen=True, kw_only=True)
class PhotoPoint:
    """A place in a photo, as fractions of its width and height from the left and from the top (0 to 1)."""

    x_fraction: float
    y_fraction: float


@dataclass(frozen=True, kw_only=True)
class PhotoBox:
    """A rectangle in a photo, as fractions of its width and height from the left and from the top (0 to 1)."""

    left_fraction: float
    top_fraction: float
    right_fraction: float
    bottom_fraction: float


@dataclass(frozen=True, kw_only=True)
class GrabCut:
    """Hints for GrabCut: a box around the object, and masks of the photo's size, bright on what is surely one or the
    other."""

    box: PhotoBox | None = None
    foreground_strokes: bytes | None = field(default=None, repr=False)
    background_strokes: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class RgbColor:
    """A color in sRGB, each part 0 to 255."""

    red: int
    green: int
    blue: int


@dataclass(frozen=True, kw_only=True)
class ChromaKey:
    """A plain backdrop; without ``color`` it is found at the photo's border. ``tolerance`` is 1 to 100 Lab units."""

    color: RgbColor | None = None
    tolerance: float | None = None


@dataclass(frozen=True, kw_only=True)
class RemoveBg:
    """Options of remove.bg. Without ``api_key`` the server's own is charged."""

    api_key: str | None = field(default=None, repr=False)
    size: RemoveBgSize | None = None
    type: RemoveBgType | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectSelection:
    """Which of several objects to keep: all, or one of ``largest``, the one at ``point``, those inside ``box``.

    Objects smaller than ``island_fraction`` (0 to 1) of the largest that is kept are dropped.
    """

    largest: bool = False
    point: PhotoPoint | None = None
    box: PhotoBox | None = None
    island_fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class BackgroundRemoval:
    """How the foreground is found, and what becomes of it.

    ``mask`` (gray, of the photo's size), ``grab_cut``, ``chroma_key`` and ``remove_bg`` belong to a method each, which
    AUTO takes when they are given. ``refine_edges`` computes a fine matte along the edge; None leaves it to the method.
    """

    method: BackgroundRemovalMethod | None = None
    mask: bytes | None = field(default=None, repr=False)
    grab_cut: GrabCut | None = None
    chroma_key: ChromaKey | None = None
    remove_bg: RemoveBg | None = None
    refine_edges: bool | None = None
    selection: ObjectSelection | None = None
    crop_to_content: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoveBgUsage:
    """Credits that the call was charged, and those left; None where remove.bg did not say."""

    credits_charged: float | None = None
    credits_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class BackgroundRemovalDetails:
    """Where the element's top left pixel lies in the photo, whether a fine matte was computed, what remove.bg took."""

    left_px: int = 0
    top_px: int = 0
    edges_refined: bool = False
    remove_bg_usage: RemoveBgUsage | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an element goes. Fractions refer to the painting.

    ``center_x_fraction`` and ``center_y_fraction`` are where the element's ``anchor``, by default its center, goes from
    the left and from the top (-1 to 2). One size before rotation: ``height_fraction`` or ``width_fraction`` (0.01 to
    4), ``height_px`` or ``width_px`` (1 to 65536). ``rotation_degrees`` is the turn counterclockwise (-360 to 360),
    after mirroring. ``opacity`` is 0.01 to 1; a higher ``z_order`` (-1000 to 1000) lies over a lower one.
    ``is_automatic`` leaves the position, and the size unless one is set, to the server.
    """

    center_x_fraction: float | None = None
    center_y_fraction: float | None = None
    height_fraction: float | None = None
    rotation_degrees: float | None = None
    flip_horizontal: bool = False
    anchor: PlacementAnchor | None = None
    width_fraction: float | None = None
    height_px: float | None = None
    width_px: float | None = None
    flip_vertical: bool = False
    opacity: float | None = None
    z_order: int | None = None
    is_automatic: bool = False


@dataclass(frozen=True, kw_only=True)
class PlacedElement:
    """One of several elements over a painting: a picture with alpha, and where it goes."""

    element: bytes = field(repr=False)
    placement: Placement | None = None


@dataclass(frozen=True, kw_only=True)
class Compositing:
    """How elements and painting become one picture.

    ``linear_light`` mixes amounts of light instead of stored values; ``tone_match_strength`` (0 to 1) moves an
    element's colors towards the painting's around it; ``fill_mask_holes`` adds to the mask what it encloses.
    """

    linear_light: bool = False
    tone_match_strength: float | None = None
    fill_mask_holes: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How the pictures of an answer are encoded; masks and alpha are always PNG.

    ``quality`` (1 to 100) is that of JPEG, AVIF and lossy WebP. What loses something needs ``allow_lossy``.
    ``include_alpha`` asks for the soft alpha of what was placed.
    """

    format: ImageFormat | None = None
    quality: int | None = None
    allow_lossy: bool = False
    include_alpha: bool = False


@dataclass(frozen=True, kw_only=True)
class MaskDilation:
    """How a mask is grown, with a kernel of ``kernel_size_px`` (1 to 1023, odd by the paper's rule).

    The paper's rule: under a Gaussian, united with the mask itself unless ``omit_mask_union``. The classic one: under a
    kernel of a shape, ``iteration_count`` times (1 to 100). ``fill_holes`` comes first; ``feather_px`` (0 to 1023) asks
    for a mask with a soft border too.
    """

    kernel_size_px: int | None = None
    omit_mask_union: bool = False
    rule: DilationRule | None = None
    kernel_shape: KernelShape | None = None
    iteration_count: int | None = None
    fill_holes: bool = False
    feather_px: float | None = None


class MemoryPolicy(str, Enum):
    """What to do when a request would need more memory than the server has."""

    REFUSE = "refuse"
    REDUCE = "reduce"


@dataclass(frozen=True, kw_only=True)
class Pass1Parameters:
    """The coarse harmonization.

    1 to 10,000 iterations, weights 0 to 1e6, learning rate 1e-6 to 10, history 1 to 1000. A pixel moves by ``max_step``
    8-bit steps at most in an iteration (0 to 255, 0 does not bound it). The pass ends early once its style loss falls
    by less than the share ``min_improvement`` in 25 iterations (0 to 0.5, 0 never ends it).
    """

    iteration_count: int | None = None
    content_weight: float | None = None
    style_weight: float | None = None
    total_variation_weight: float | None = None
    learning_rate: float | None = None
    history_size: int | None = None
    max_step: float | None = None
    min_improvement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Pass2Parameters:
    """The refinement. The scales (0 to 1e3) multiply the weights that the stylization level leads to.

    1 to 10,000 iterations, content weight 0 to 1e6, learning rate 1e-6 to 10, history 1 to 1000, ring 0 to 8 cells,
    ``max_step`` and ``min_improvement`` as in pass 1.
    """

    iteration_count: int | None = None
    content_weight: float | None = None
    style_weight_scale: float | None = None
    histogram_weight_scale: float | None = None
    total_variation_weight_scale: float | None = None
    learning_rate: float | None = None
    history_size: int | None = None
    refinement_guide: RefinementGuide | None = None
    ring_radius_cells: int | None = None
    max_step: float | None = None
    min_improvement: float | None = None


@dataclass(frozen=True, kw_only=True)
class PostprocessParameters:
    """What the last stage leaves out."""

    skip_chrominance_denoising: bool = False
    skip_patch_synthesis: bool = False


@dataclass(frozen=True, kw_only=True)
class ParityParameters:
    """Each switch chooses the paper authors' behavior where ours differs; the contract describes every one."""

    input_scale_256: bool = False
    wide_blend_kernel: bool = False
    joint_validity_matching: bool = False
    binned_histogram: bool = False
    asymmetric_refinement_bounds: bool = False
    partial_total_variation: bool = False
    derived_mask_without_union: bool = False
    quantize_pass1_result: bool = False
    truncate_on_export: bool = False
    unlimited_detail: bool = False
    keep_photo_noise: bool = False
    style_positions_once: bool = False
    keep_photo_colors: bool = False
    repaint_structure: bool = False
    histogram_by_noise: bool = False
    match_features_only: bool = False


@dataclass(frozen=True, kw_only=True)
class StyleRegion:
    """The rectangle of the painting that lends its hand, as fractions (0 to 1) of the painting's sides."""

    left_fraction: float
    top_fraction: float
    width_fraction: float
    height_fraction: float


@dataclass(frozen=True, kw_only=True)
class HarmonizeParameters:
    """The whole computation.

    ``stylization_level`` is the strength of the painting's style (1 realistic, 5 impressionist, 10 expressionist; by
    default estimated from it), ``working_long_side_px`` bounds the long side at which the passes run (64 to 2048),
    ``object_size_px`` chooses their scale by the size that the object has there (16 to 1024), ``seed`` is 0 to 2^31-1.
    Without ``memory_policy`` a size that the preset chose is reduced where memory does not suffice, and one that is
    given here refused.
    """

    preset: Preset | None = None
    network: Network | None = None
    stylization_level: float | None = None
    working_long_side_px: int | None = None
    object_size_px: int | None = None
    seed: int | None = None
    pass1: Pass1Parameters | None = None
    pass2: Pass2Parameters | None = None
    postprocess: PostprocessParameters | None = None
    parity: ParityParameters | None = None
    memory_policy: MemoryPolicy | None = None
    style_region: StyleRegion | None = None


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What a stream carries. The intervals, 0 to 3600 s, are the least time between two events of a stage.

    ``frame_long_side_px`` bounds the frames (16 to 4096); ``omit_frames`` leaves out all but the stages' results.
    """

    progress_interval_s: float | None = None
    frame_interval_s: float | None = None
    frame_long_side_px: int | None = None
    frame_format: ImageFormat | None = None
    omit_frames: bool = False
    result_format: ImageFormat | None = None


@dataclass(frozen=True, kw_only=True)
class BackgroundRemoved:
    """``element`` is an RGBA PNG of the photo's size, unless it was cropped to its content.

    ``method_used`` is never AUTO; ``method_reason`` says why it.
    """

    element: bytes = field(repr=False)
    method_used: BackgroundRemovalMethod
    method_reason: str
    details: BackgroundRemovalDetails = BackgroundRemovalDetails()


@dataclass(frozen=True, kw_only=True)
class Composed:
    """``composite`` is the painting with the elements over it, ``mask`` the elements' tight mask, a PNG.

    ``alpha`` is what they cover, when it was asked for. Of several elements ``placements_used`` has every placement in
    their order, and ``placement_reasons`` says why each place was chosen, empty for one that was given.
    """

    composite: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    placement_used: Placement
    alpha: bytes | None = field(repr=False, default=None)
    placements_used: tuple[Placement, ...] = ()
    placement_reasons: tuple[str, ...] = ()
    compositing_used: Compositing | None = None


@dataclass(frozen=True, kw_only=True)
class PlacementScores:
    """What is good about a place, each from 0 to 1: how ``free`` it is of what draws the eye, how far the element would
    stand on ground (``support``), how plausible the size is (``scale``), how it suits the composition (``balance``)."""

    free: float
    support: float
    scale: float
    balance: float


@dataclass(frozen=True, kw_only=True)
class PlacementSuggestion:
    """A place for an element: its ``placement``, ``score`` (0 to 1), its parts, why in words, and the element's box."""

    placement: Placement
    score: float
    scores: PlacementScores
    reason: str
    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class Dilated:
    """``dilated_mask`` is a gray PNG of the mask's size with the values 0 and 255.

    ``feathered_mask`` has a soft border, when ``feather_px`` asked for it.
    """

    dilated_mask: bytes = field(repr=False)
    dilation_used: MaskDilation
    feathered_mask: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that harmonizing needs: ``composite``, ``mask`` and ``dilated_mask``, of the painting's size.

    ``alpha`` and ``feathered_mask`` are there when they were asked for; ``placement_reason`` says why the place was
    chosen, and is empty when it was given.
    """

    composite: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    dilated_mask: bytes = field(repr=False)
    element: bytes = field(repr=False)
    method_used: BackgroundRemovalMethod
    method_reason: str
    placement_used: Placement
    dilation_used: MaskDilation
    alpha: bytes | None = field(repr=False, default=None)
    feathered_mask: bytes | None = field(repr=False, default=None)
    placement_reason: str = ""
    compositing_used: Compositing | None = None
    details: BackgroundRemovalDetails = BackgroundRemovalDetails()


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage would take.

    The rectangle is of the pixels that change: at working size, in post-processing of the painting.
    """

    stage: Stage
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    predicted_peak_memory_bytes: int
    predicted_duration_s: float


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What a request would take on the server, if it ran now and alone.

    ``is_reduced`` says that the passes would run at a smaller size than was asked for, ``largest_working_long_side_px``
    is the largest that fits; None when none does.
    """

    fits: bool
    is_reduced: bool
    working_width_px: int
    working_height_px: int
    stages: tuple[StagePlan, ...]
    predicted_peak_memory_bytes: int
    available_memory_bytes: int
    predicted_duration_s: float
    largest_working_long_side_px: int | None
    matching_chunk_pairs: int
    device: str
    parameters_used: HarmonizeParameters
