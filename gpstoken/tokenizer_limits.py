"""The limits of the arguments of `GPSToken`, of each alone and of all together."""

from typing import Any

from gpstoken.limits import Limit, above, at_least, each, flag, number, one_of
from gpstoken.partition import BACKENDS as PARTITION_BACKENDS
from gpstoken.partition import max_regions
from gpstoken.splat import BACKENDS as SPLAT_BACKENDS

# The upper limits are far above anything in use; they keep a mistyped or hostile file from building for minutes.
LIMITS: dict[str, Limit] = {
    "num_tokens": at_least(1),
    "feature_channels": at_least(1),
    "image_size": at_least(1, 65536),
    "grid_size": at_least(1, 65536),
    "width": at_least(1),
    "depth": at_least(0, 1000),
    "heads": at_least(1),
    "roi_size": at_least(1, 1024),
    "stem_channels": at_least(1),
    "decoder_channels": at_least(1),
    "decoder_multipliers": each(at_least(1)),
    "decoder_blocks": at_least(1, 1000),
    "norm_groups": at_least(1),
    "norm": one_of("plain", "released"),
    "lambda_": number(0),
    "min_region_size": at_least(1),
    "sigma_rule": one_of("released", "paper"),
    "support_factor": above(0),
    "refine_geometry": flag(),
    "tile_decoding": one_of("merged", "separate"),
    "partition_backend": one_of(*PARTITION_BACKENDS),
    "splat_backend": one_of(*SPLAT_BACKENDS),
    "fused": flag(),
    "recompute": flag(),
}


def check_together(config: dict[str, Any]) -> None:
    """Checks that all arguments fit together, before anything is built.

    Args:
        config: all arguments of `GPSToken` by name.

    Raises:
        ValueError: naming the first pair that does not fit.
    """
    groups, multipliers = config["norm_groups"], config["decoder_multipliers"]
    for name, value, divisor, divided_by in (
        ("width", config["width"], config["heads"], "heads"),
        ("stem_channels", config["stem_channels"], groups, "norm_groups"),
        *(("decoder_channels times its multiplier", config["decoder_channels"] * m, groups, "norm_groups")
          for m in multipliers),
    ):  # fmt: skip
        if value % divisor:
            raise ValueError(f"{name}: expected a multiple of {divided_by} ({divisor}), got {value}")
    size = config["image_size"]
    smallest = config["min_region_size"]
    if size < 2 * smallest:
        raise ValueError(f"min_region_size: expected at most half of image_size ({size // 2}), got {smallest}")
    most = max_regions(size, size, smallest)
    if config["num_tokens"] > most:
        regions = f"the regions of image_size {size} and min_region_size {smallest}"
        raise ValueError(f"num_tokens: expected at most {most}, {regions}, got {config['num_tokens']}")
