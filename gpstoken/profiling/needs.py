"""Memory and time of a training step, estimated in advance on networks without weights, for any size."""

import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gpstoken.base import Generator
from gpstoken.losses import PatchDiscriminator, generator_loss
from gpstoken.perceptual import untrained_lpips
from gpstoken.profiling.counting import product_counter
from gpstoken.profiling.inputs import picture
from gpstoken.profiling.memory import step_loss, training_bytes
from gpstoken.profiling.shapes import without_weights
from gpstoken.profiling.timing import timed

BACKWARD = 3  # a step's products over those of its forward pass: as many each for the gradients of input and weights


@dataclass(frozen=True)
class Needs:
    """The cost of a training step on one batch.

    Attributes:
        memory: bytes of weights, gradients, Adam's moments, averaged weights and saved activations.
        products: multiply-adds.
    """

    memory: int
    products: int


def needs(module: Any, data: Any, shares: int = 1) -> Needs:
    """Counts one sample on copies without weights; activations and products are multiplied by the batch size.

    Args:
        module: a `TokenizerModule`, whose LPIPS and discriminator count too, or a `GeneratorModule`.
        data: its data module.
        shares: number of devices that shard weights, gradients, moments and averages.

    Raises:
        ValueError: for a loss on images of a tokenizer that makes none in training.
    """
    tokenizer = getattr(module, "tokenizer", None)
    if tokenizer is not None:
        copy = without_weights(partial(type(tokenizer), **tokenizer.config), ()).train()
        networks, loss = _tokenizer_loss(module, copy, data.image_size)
    else:
        networks, loss = _generator_loss(module.generator)
        copy = networks
    with product_counter() as counter:
        counted = training_bytes(networks, loss)
    products = counter.get_total_flops() // 2
    states = counted["parameters"] + _bytes(copy) + counted["gradients"] + counted["moments"]
    return Needs(states // shares + counted["activations"] * data.batch_size, BACKWARD * products * data.batch_size)


def products_per_second(device: torch.device) -> float:
    """Multiply-adds per second of a 3 x 3 convolution with 64 channels, which few layers of a network reach.

    The measurement takes a tenth of a second on two cores.
    """
    layer = nn.Conv2d(64, 64, 3, padding=1, device=device)
    pixels = torch.zeros(4, 64, 64, 64, device=device)
    with torch.no_grad():
        layer(pixels)
        begin, times = time.perf_counter(), []
        while len(times) < 3 or time.perf_counter() - begin < 0.05:
            times.append(timed(lambda: layer(pixels), device)[1])
    return pixels.numel() * 64 * 9 / (median(times) / 1000)


def _tokenizer_loss(module: Any, tokenizer: nn.Module, size: int) -> tuple[nn.Module, Any]:
    """The networks of a tokenizer's training, without weights, and the loss of its costliest step on one image."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        networks = nn.ModuleDict({"tokenizer": tokenizer})
        if module.perceptual_weight:
            networks["perceptual"] = untrained_lpips(module.perceptual_network).requires_grad_(False)
        if module.discriminator is not None:
            networks["discriminator"] = PatchDiscriminator(module.discriminator.channels, module.discriminator.levels)
    image = picture(1, size)

    def loss() -> Tensor:
        reconstruction, total = step_loss(tokenizer, image)
        if reconstruction is None:
            if module.inception_weight:
                raise ValueError(
                    f"inception_weight: expected 0, because {type(tokenizer).__name__} learns without images"
                )
            return total
        if "perceptual" in networks:
            total = total + networks["perceptual"](reconstruction, image).mean()
        if "discriminator" in networks:
            total = total + generator_loss(networks["discriminator"](reconstruction))
        return total

    return networks, loss


def _generator_loss(generator: Generator) -> tuple[nn.Module, Any]:
    """The network without weights, and a loss of one sample with the same cost as the generator's own loss."""
    copy = without_weights(partial(generator.from_config, generator.config), ()).train()
    given = copy.inputs(1)
    return copy.network, lambda: copy.network(**given).float().square().mean()


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
