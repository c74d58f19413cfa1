"""Random tokens, and a renderer's map and gradients, for the tests of every backend."""

import pytest
import torch

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat


def _make(batch, num_tokens, channels=5, dtype=torch.float64, seed=0, smallest=0.02, largest=0.4):
    """Random tokens: centres on and off the canvas (the first near its middle), log-uniform sigma, |rho| up to 0.99."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    mu = uniform(batch, num_tokens, 2) * 3.2 - 1.6
    mu[:, :1] *= 0.01
    sigma = smallest * (largest / smallest) ** uniform(batch, num_tokens, 2)
    rho = uniform(batch, num_tokens) * 1.98 - 0.99
    features = torch.randn(batch, num_tokens, channels, generator=generator, dtype=torch.float64)
    # Through float32, so that every dtype is given the same numbers.
    return [value.float().to(dtype).requires_grad_() for value in (mu, sigma, rho, features)]


def _run(inputs, size, support_factor, backend):
    """The map and the gradients of a random linear functional of it."""
    mu, sigma, rho, features = inputs
    feature_map = splat(Gaussians(mu, sigma, rho), features, size, support_factor, backend)
    upstream = torch.randn(feature_map.shape, generator=torch.Generator().manual_seed(9)).to(feature_map)
    return feature_map.detach(), *torch.autograd.grad((feature_map * upstream).sum(), inputs)


@pytest.fixture(scope="session")
def make():
    """`_make`."""
    return _make


@pytest.fixture(scope="session")
def run():
    """`_run`."""
    return _run
