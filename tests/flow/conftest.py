"""A mixture of Gaussians whose velocity, score and noise are known in closed form, on each path."""

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch


def alpha_sigma(path, t):
    """The paths, typed from their definitions."""
    if path == "linear":
        return t, 1 - t
    if path == "gvp":
        return torch.sin(math.pi * t / 2), torch.cos(math.pi * t / 2)
    alpha = torch.exp(-((1 - t) ** 2) * (20 - 0.1) / 4 - (1 - t) * 0.1 / 2)
    return alpha, torch.sqrt(1 - alpha**2)


@cache
def coefficients(path, t):
    """alpha, sigma and their derivatives at one time, by automatic differentiation."""
    with torch.enable_grad():
        time = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        values = alpha_sigma(path, time)
        slopes = [torch.autograd.grad(value, time, retain_graph=True)[0] for value in values]
    return *(value.detach() for value in values), *slopes


@dataclass
class Mixture:
    weights: torch.Tensor  # [K]
    means: torch.Tensor  # [K, d]
    covariances: torch.Tensor  # [K, d, d]

    @property
    def mean(self):
        return self.weights @ self.means

    @property
    def covariance(self):
        apart = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances + apart[:, :, None] * apart[:, None, :])

    def network(self, kind="velocity", path="linear"):
        return lambda x, t: self.predict(kind, path, x, t)

    def predict(self, kind, path, x, t):
        """E[alpha' x1 + sigma' x0 | x], the score or E[x0 | x]: Bayes' rule over the components, in float64."""
        alpha, sigma, d_alpha, d_sigma = coefficients(path, float(t))
        x64 = x.double()
        cov = alpha**2 * self.covariances + sigma**2 * torch.eye(len(self.mean), dtype=torch.float64)
        apart = x64 - alpha * self.means[:, None]  # [K, B, d]
        whitened = apart @ torch.linalg.inv(cov)
        log = (self.weights.log() - 0.5 * torch.logdet(cov))[:, None] - 0.5 * (apart * whitened).sum(-1)
        share = log.softmax(0)[..., None]
        noise = (share * sigma * whitened).sum(0)
        data = (share * (self.means[:, None] + alpha * whitened @ self.covariances)).sum(0)
        answers = {
            "noise": noise,
            "score": -(share * whitened).sum(0),
            "velocity": d_alpha * data + d_sigma * noise,
        }
        return answers[kind].to(x.dtype)


@pytest.fixture(scope="session")
def mixture():
    return Mixture(
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        means=torch.tensor([[1.0, -0.5], [-1.0, 0.5], [0.5, 1.0]], dtype=torch.float64),
        covariances=torch.tensor(
            [[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.3]], [[0.25, 0.0], [0.0, 0.25]]], dtype=torch.float64
        ),
    )


@pytest.fixture(scope="session")
def gaussian():
    """One component: N(0.7, 0.5^2), whose ODE has the solution alpha m + sqrt(alpha^2 s^2 + sigma^2) z."""
    return Mixture(*(torch.tensor(value, dtype=torch.float64) for value in ([1.0], [[0.7]], [[[0.25]]])))
