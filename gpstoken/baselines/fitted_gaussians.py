"""Gaussians with colours, fitted to each image by gradient descent: what encoding without optimisation gives away."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gpstoken.base import Code, Tokenizer
from gpstoken.gaussians import Gaussians, offset
from gpstoken.limits import above, at_least, limits
from gpstoken.partition import partition
from gpstoken.splat import splat
from gpstoken.tokens import Tokens


class FittedGaussians(Tokenizer):
    """An image as a sum of coloured Gaussians whose parameters are optimised on that image alone.

    The idea of GaussianImage (Zhang et al., ECCV 2024), with this project's partition as the start and its renderer at
    full resolution; Adam on the squared error, with a rate that falls to zero by a cosine. A token has 8 numbers: 5 of
    its Gaussian, and a colour relative to grey. There are no weights, so there is nothing to train.
    """

    @limits(num_tokens=at_least(1), steps=at_least(0), learning_rate=above(0))
    def __init__(self, num_tokens: int = 1184, steps: int = 1000, learning_rate: float = 0.02) -> None:
        """Makes the tokenizer; the default has as many numbers as 256 tokens of 37 numbers.

        Args:
            num_tokens: Gaussians of one image.
            steps: gradient steps of `encode`.
            learning_rate: of the first step.
        """
        super().__init__()
        self.config = {"num_tokens": num_tokens, "steps": steps, "learning_rate": learning_rate}
        self.num_tokens, self.steps, self.learning_rate = num_tokens, steps, learning_rate

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The Gaussians of an image of any size: `num_tokens`, by default the tokenizer's own number."""
        count = self.num_tokens if num_tokens is None else num_tokens
        return Code(count, (count,), 5 + 3, None)

    def encode(self, image: Tensor, num_tokens: int | None = None) -> Tokens:
        """Fits Gaussians to float[B, 3, H, W] in [-1, 1], in place of a network.

        Raises:
            ValueError: if the partition cannot make so many regions.
        """
        with torch.inference_mode(False), torch.enable_grad():
            return self._fitted(image.clone(), num_tokens)

    def _fitted(self, image: Tensor, num_tokens: int | None) -> Tokens:
        size = (image.shape[-2], image.shape[-1])
        regions = partition(image, self.code(size, num_tokens).tokens, min_region_size=2, tile_size=None)
        layout = Gaussians.from_regions(regions, size)
        delta = torch.zeros(*regions.shape[:2], 5, device=image.device, requires_grad=True)
        # Neighbours overlap, so that their sum would be brighter than each of them.
        colours = (0.5 * _means(image, regions)).requires_grad_()
        optimizer = torch.optim.Adam([delta, colours], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps))
        for _ in range(self.steps):
            loss = F.mse_loss(splat(offset(layout, delta), colours, size), image)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return Tokens(offset(layout, delta.detach()), colours.detach(), size)

    def decode(self, tokens: Tokens) -> Tensor:
        """Renders tokens of `encode` to float[B, 3, H, W], not clamped.

        Raises:
            ValueError: for tokens without a size.
        """
        if tokens.size is None:
            raise ValueError("tokens: expected the size of their image")
        return splat(tokens.gaussians, tokens.features, tokens.size)

    @property
    def last_layer(self) -> Tensor:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("FittedGaussians: has no weights to train")


def _means(image: Tensor, regions: Tensor) -> Tensor:
    """Mean colour of each region, float[B, N, 3], by the summed-area table."""
    table = F.pad(image.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
    x0, y0, x1, y1 = regions.unbind(-1)
    batch = torch.arange(len(image))[:, None]
    corners = [table[batch, :, y, x] for y, x in ((y1, x1), (y0, x1), (y1, x0), (y0, x0))]
    total = corners[0] - corners[1] - corners[2] + corners[3]
    return (total / ((x1 - x0) * (y1 - y0))[..., None]).to(image.dtype)
