"""Lightning modules and callbacks; only this package and `gpstoken.commands` use Lightning."""

from gpstoken.training.averaging import AveragedWeights
from gpstoken.training.budget import Budget
from gpstoken.training.files import LastCheckpoint, MetricsFile
from gpstoken.training.late_codes import LateCodes
from gpstoken.training.pictures import ReconstructionPictures
from gpstoken.training.principal_components import PrincipalComponents
from gpstoken.training.progress import StepProgress
from gpstoken.training.timed_steps import TimedSteps
from gpstoken.training.tokenizer_module import TokenizerModule

__all__ = [
    "AveragedWeights",
    "Budget",
    "LastCheckpoint",
    "LateCodes",
    "MetricsFile",
    "PrincipalComponents",
    "ReconstructionPictures",
    "StepProgress",
    "TimedSteps",
    "TokenizerModule",
]
