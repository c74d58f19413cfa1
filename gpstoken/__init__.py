"""GPSToken: images as 2-D Gaussians with texture features.

Start reading at `gpstoken.tokenizer`.
"""

from gpstoken.gaussians import Gaussians
from gpstoken.partition import partition
from gpstoken.splat import splat
from gpstoken.tokenizer import GPSToken
from gpstoken.tokens import Tokens

__all__ = ["GPSToken", "Gaussians", "Tokens", "partition", "splat"]
