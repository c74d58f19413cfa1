"""What commands import, load and remember when they first do something, done once for all processes to be forked.

Without gradients: torch forbids a fork of a process that has differentiated to differentiate.
"""

import torch

import tests.faults.kills  # noqa: F401
from datamodules import Embedded
from gpstoken import GPSToken
from gpstoken.training import TokenizerModule
from gpstoken.training.needs import needs
from tests.training.conftest import DISCRIMINATOR, MODULE, TOKENIZER

with torch.random.fork_rng(), torch.no_grad():
    tokenizer = GPSToken(**TOKENIZER)
    tokenizer(torch.zeros(1, 3, 32, 32))
    needs(TokenizerModule(tokenizer, **MODULE | DISCRIMINATOR), Embedded("data/embedded", image_size=32))
