"""Flows from noise to data: paths, training loss, samplers, guidance, noise.

One convention throughout: t in [0, 1], t = 0 is standard normal noise x0, t = 1 is data x1.
"""

from gpstoken.flow.fields import convert, sampling_interval, training_interval
from gpstoken.flow.guidance import guided
from gpstoken.flow.noise import SampleNoise
from gpstoken.flow.paths import interpolate
from gpstoken.flow.sampling import sample
from gpstoken.flow.settings import Network, Noise, Sampling
from gpstoken.flow.training import flow_loss

__all__ = [
    "Network",
    "Noise",
    "SampleNoise",
    "Sampling",
    "convert",
    "flow_loss",
    "guided",
    "interpolate",
    "sample",
    "sampling_interval",
    "training_interval",
]
