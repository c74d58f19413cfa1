"""Mean and covariance of a stream of features, numerically stable, also across processes."""

import torch
from torch import Tensor, distributed


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean float64[d] and covariance float64[d, d] of features [n, d], with n - 1 in the denominator."""
    features = features.double()
    return features.mean(dim=0), torch.cov(features.T).view(features.shape[1], -1)  # a number for d = 1


class Moments:
    """Count, mean and scatter of feature vectors, in float64; memory does not grow with their number.

    Deviations are computed from the mean of each batch, and batches are combined by the pairwise rule of Chan, Golub
    and LeVeque (1979). A plain sum of x xᵀ would lose the covariance of features with a large mean: for mean 1e3 and
    spread 1e-2 the covariance is 1e10 times smaller than the terms whose difference it is.

    Attributes:
        count: number of vectors.
        mean: float64[d]; zero before the first vector.
        scatter: float64[d, d], sum of (x - mean)(x - mean)ᵀ.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        """Starts empty.

        Args:
            dimension: d.
            device: device of the sums; it must support float64.
        """
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Adds features[B, d] of any floating type and device.

        Raises:
            ValueError: for another shape, or a value that is not finite (naming the first).
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"moments: expected features[B, {len(self.mean)}], got shape {tuple(features.shape)}")
        features = features.detach().to(self.mean)
        if not features.isfinite().all():
            row, column = (~features.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"moments: feature {column} of vector {self.count + row} is {features[row, column]}")
        if len(features):
            mean = features.mean(dim=0)
            deviation = features - mean
            self._combine(len(features), mean, deviation.T @ deviation)

    def merge(self, other: "Moments") -> None:
        """Adds the vectors of `other`.

        Raises:
            ValueError: if the dimensions differ.
        """
        if len(other.mean) != len(self.mean):
            raise ValueError(f"moments: dimensions {len(self.mean)} and {len(other.mean)} cannot be merged")
        self._combine(other.count, other.mean.to(self.mean), other.scatter.to(self.scatter))

    def _combine(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if not count:
            return
        total = self.count + count
        step = mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(step, step) * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """float64[d, d], with n - 1 in the denominator.

        Raises:
            ValueError: with fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"moments: a covariance needs two vectors or more, got {self.count}")
        return self.scatter / (self.count - 1)

    def all_reduce(self) -> None:
        """Makes these the moments of all processes together; call it once, at the end, on every process.

        Nothing happens without a process group. First the means are exchanged (d + 1 numbers), then each process's
        scatter about the common mean, so that again no large numbers are subtracted from each other.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        # nccl communicates only tensors on the accelerator
        device = torch.device("cuda") if distributed.get_backend() == "nccl" else torch.device("cpu")
        count = self.mean.new_tensor([self.count])
        totals = torch.cat([count, self.mean * self.count]).to(device)
        distributed.all_reduce(totals)
        totals = totals.to(self.mean)
        total = int(totals[0])
        if not total:
            return
        mean = totals[1:] / total
        step = self.mean - mean
        scatter = (self.scatter + torch.outer(step, step) * self.count).to(device)
        distributed.all_reduce(scatter)
        self.count, self.mean, self.scatter = total, mean, scatter.to(self.scatter)
