"""What commands import, load and remember when they first do something, done once for all processes to be forked.

Without gradients: torch forbids a fork of a process that has differentiated to differentiate.
"""

from importlib import import_module

import torch

from datamodules import Embedded
from gpstoken import GPSToken
from gpstoken.training import TokenizerModule
from gpstoken.training.needs import needs
from tests.training.conftest import DISCRIMINATOR, MODULE, TOKENIZER

for name in (
    "cffi.cparser", "omegaconf.grammar_parser",  # numba and jsonargparse import them when they first need them
    "gpstoken.evaluate_generator", "gpstoken.generate", "gpstoken.score", "gpstoken.training.cache",
    "gpstoken.training.cost", "gpstoken.training.evaluate", "gpstoken.training.generator_module",
    "gpstoken.training.run", "tests.faults.kills",
):  # fmt: skip
    import_module(name)

with torch.random.fork_rng(), torch.no_grad():
    tokenizer = GPSToken(**TOKENIZER)
    tokenizer(torch.zeros(1, 3, 32, 32))
    needs(TokenizerModule(tokenizer, **MODULE | DISCRIMINATOR), Embedded("data/embedded", image_size=32))
