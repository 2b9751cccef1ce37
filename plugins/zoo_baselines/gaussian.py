"""A Gaussian with the mean and full covariance of the data.

Images are fitted as if dequantized: uniform noise over a bin of width w = 2 / (L - 1) adds w^2 / 12 to
every variance, here by its expectation, so the covariance is regular however few the images are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_baselines.fitted import Fitted, FittedConfig, chunks
from zoo_core.data.likelihood import dequantized
from zoo_core.data.loading import TrainData
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, Likelihood, SampleRequest, Samples

MAX_DIMS = 16_384
"""Values in an example: the covariance of so many takes 2 GiB."""


class Gaussian(Fitted):
    """p(x) = N(x; mean, scale_tril scale_tril^T).

    Attributes:
        mean: (D,) float64.
        scale_tril: (D, D) float64, the covariance's Cholesky factor.
    """

    mean: Tensor
    scale_tril: Tensor

    def __init__(self, config: FittedConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        if data.dims > MAX_DIMS:
            raise UsageError(
                f"plugin 'gaussian' keeps a full covariance, and an example of {data.name!r} has "
                f"{data.dims:,} values",
                f"expected: at most {MAX_DIMS:,}, such as 3 x 64 x 64",
                "next: smaller images, or another plugin",
            )
        self.register_buffer("mean", torch.zeros(data.dims, dtype=torch.float64))
        self.register_buffer("scale_tril", torch.eye(data.dims, dtype=torch.float64))

    def fit(self, train: TrainData) -> None:
        # Two passes: differences from the mean lose no digits, sums of squares do.
        n = len(train)
        self.mean.copy_(torch.stack([x.flatten(1).double().sum(0) for x in chunks(train)]).sum(0) / n)
        covariance = torch.zeros_like(self.scale_tril)
        for x in chunks(train):
            difference = x.flatten(1).double() - self.mean
            covariance.addmm_(difference.T, difference)
        covariance /= n
        if self.data.levels is not None:
            covariance.diagonal().add_((2 / (self.data.levels - 1)) ** 2 / 12)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise UsageError(
                f"the covariance of {self.data.name!r} is singular: no Gaussian density fits it",
                f"given: {n} points of {self.data.dims} coordinates",
                f"expected: at least {self.data.dims + 1} points that lie on no common hyperplane",
            )
        self.scale_tril.copy_(factor)

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), (n,) nats, for (n, *shape) float64."""
        z = torch.linalg.solve_triangular(self.scale_tril, (x.flatten(1) - self.mean).T, upper=False)
        log_det = self.scale_tril.diagonal().log().sum()
        return -z.square().sum(0) / 2 - log_det - self.data.dims / 2 * math.log(2 * math.pi)

    def sample(self, request: SampleRequest) -> Samples:
        eps = request.noise.randn(self.data.shape).flatten(1).double()
        x = self.mean + eps @ self.scale_tril.T
        return Samples(x.reshape(-1, *self.data.shape).float())

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        if self.data.levels is None:
            return [Likelihood(self.log_density(x.double()), "exact")]
        log_prob = dequantized(self.log_density, x, self.data.levels, noise=noise)
        return [Likelihood(log_prob, "exact", dequantization="uniform")]
