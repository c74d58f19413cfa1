"""What commands import, load and remember when they first do something, done once for all processes to be forked.

Nothing is differentiated: torch forbids a fork of a process that has done so to differentiate.
"""

from importlib import import_module

import torch

from datamodules import Embedded
from gpstoken import GPSToken, partition
from gpstoken.calibrate import calibrate
from gpstoken.gaussians import Gaussians
from gpstoken.profiling.needs import needs
from gpstoken.training import TokenizerModule
from tests.training.conftest import DISCRIMINATOR, MODULE, TOKENIZER

for name in (
    "cffi.cparser", "omegaconf.grammar_parser",  # numba and jsonargparse import them when they first need them
    "gpstoken.commands.evaluate_generator", "gpstoken.commands.generate", "gpstoken.commands.score",
    "gpstoken.commands.cache", "gpstoken.commands.cost", "gpstoken.commands.evaluate", "gpstoken.commands.fit",
    "gpstoken.training.generator_module", "tests.faults.kills",
):  # fmt: skip
    import_module(name)

with torch.random.fork_rng():
    tokenizer = GPSToken(**TOKENIZER)
    tokenizer(torch.zeros(1, 3, 32, 32))
    image = torch.rand(1, 3, 32, 32)
    calibrate(Gaussians.from_regions(partition(image, 8, min_region_size=4), (32, 32)), (32, 32), 4, backend="cpu")
    needs(TokenizerModule(tokenizer, **MODULE | DISCRIMINATOR), Embedded("data/embedded", image_size=32))
