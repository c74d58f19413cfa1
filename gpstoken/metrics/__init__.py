"""Metrics as the papers compute them: per image, on 8-bit values, and for sets of images."""

from gpstoken.metrics.frechet import Statistics, frechet_distance, read_statistics, write_statistics
from gpstoken.metrics.kernel import inception_score, kernel_distance
from gpstoken.metrics.moments import Moments
from gpstoken.metrics.neighbours import precision_recall
from gpstoken.metrics.networks import load_features
from gpstoken.metrics.reconstruction import METRICS, reconstruction_metrics, ssim, to_uint8
from gpstoken.metrics.summary import Estimate, paired_difference, summarise
from gpstoken.metrics.weights import find_weights, weights_record

__all__ = [
    "METRICS",
    "Estimate",
    "Moments",
    "Statistics",
    "find_weights",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "load_features",
    "paired_difference",
    "precision_recall",
    "read_statistics",
    "reconstruction_metrics",
    "ssim",
    "summarise",
    "to_uint8",
    "weights_record",
    "write_statistics",
]
