"""Metrics with the reductions of the papers: each image alone, on 8-bit values, then the mean over images."""

from gpstoken.metrics.reconstruction import METRICS, reconstruction_metrics, to_uint8
from gpstoken.metrics.summary import Estimate, paired_difference, summarise

__all__ = ["METRICS", "Estimate", "paired_difference", "reconstruction_metrics", "summarise", "to_uint8"]
