"""The weight store: what the networks are made of, fetched once, verified on every use.

``WeightStore().path("vgg16")`` is a verified file or a typed error that names the way out; nothing is ever put in
its place. Light on purpose: reading a downloaded file's tensors is left to converters that the services bring along.
"""

from painterly.weights.errors import (
    ConverterMissing,
    UnknownWeights,
    WeightsCorrupt,
    WeightsError,
    WeightsMissing,
    WeightsUnobtainable,
)
from painterly.weights.manifest import MANIFEST, InputConvention, Network, TensorSpec, UrlSource, WheelSource
from painterly.weights.sources import FetchPhase, FetchProgress, Transfer
from painterly.weights.store import DIRECTORY_VARIABLE, WeightState, WeightStatus, WeightStore

__all__ = [
    "DIRECTORY_VARIABLE",
    "MANIFEST",
    "ConverterMissing",
    "FetchPhase",
    "FetchProgress",
    "InputConvention",
    "Network",
    "TensorSpec",
    "Transfer",
    "UnknownWeights",
    "UrlSource",
    "WeightState",
    "WeightStatus",
    "WeightStore",
    "WeightsCorrupt",
    "WeightsError",
    "WeightsMissing",
    "WeightsUnobtainable",
    "WheelSource",
]
