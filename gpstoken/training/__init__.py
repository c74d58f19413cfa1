"""Lightning modules and callbacks; the only part of the package that knows Lightning, with `gpstoken.cli`."""

from gpstoken.training.averaging import AveragedWeights
from gpstoken.training.files import LastCheckpoint, MetricsFile
from gpstoken.training.pictures import ReconstructionPictures
from gpstoken.training.progress import StepProgress
from gpstoken.training.tokenizer_module import TokenizerModule

__all__ = [
    "AveragedWeights",
    "LastCheckpoint",
    "MetricsFile",
    "ReconstructionPictures",
    "StepProgress",
    "TokenizerModule",
]
