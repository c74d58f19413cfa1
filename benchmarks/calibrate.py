"""Calibration of noisy layouts of photographs: compiled, against the same search in Python."""

import torch

from benchmarks.partition import photographs
from benchmarks.timing import compare
from gpstoken.calibrate import calibrate
from gpstoken.gaussians import Gaussians
from gpstoken.partition import partition

# (side, tokens, min_region_size): the case of the laptop scale, and those of the paper with 128 and 256 tokens.
CASES = ((64, 16, 4), (256, 128, 8), (256, 256, 8))
# Standard deviation of the noise on mu, in canvas units; sigma gets a tenth of it. None, small, far too large.
NOISE = (0.0, 0.02, 1.0)


def run() -> list[dict]:
    """Milliseconds per layout on one thread, for each case and noise.

    Returns:
        Rows as `benchmarks.timing.compare` makes them.
    """
    images, threads = photographs(), torch.get_num_threads()
    rows = []
    torch.set_num_threads(1)
    try:
        for side, num_tokens, min_region_size in CASES:
            regions = partition(images[..., :side, :side], num_tokens, min_region_size=min_region_size)
            clean = Gaussians.from_regions(regions, (side, side))
            for noise in NOISE:
                generator = torch.Generator().manual_seed(0)
                mu = clean.mu + noise * torch.randn(clean.mu.shape, generator=generator)
                sigma = clean.sigma + noise / 10 * torch.randn(mu.shape, generator=generator)
                layout = Gaussians(mu, sigma, clean.rho)

                def fit(backend: str, layout: Gaussians = layout, case: tuple = (side, min_region_size)) -> None:
                    calibrate(layout, (case[0], case[0]), case[1], backend=backend)

                variants = {backend: lambda backend=backend, fit=fit: fit(backend) for backend in ("reference", "cpu")}
                case = f"calibrate, {num_tokens} tokens, {side} px, noise {noise}"
                rows += compare(case, variants, rounds=5, images=len(images))
    finally:
        torch.set_num_threads(threads)
    return rows
