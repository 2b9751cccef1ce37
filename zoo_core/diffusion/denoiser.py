"""Any trained network as E[x0 | x0 + sigma eps]: the one shape in which samplers know a diffusion model."""

from __future__ import annotations

from copy import copy
from typing import Literal, Protocol, Self, runtime_checkable

from torch import Tensor

from zoo_core.diffusion.prediction import Prediction, like, to_x0
from zoo_core.diffusion.schedule import NoiseSchedule
from zoo_core.interfaces import Coupling, Denoiser
from zoo_core.types import Cond


class Net(Protocol):
    """A network of noisy data and time."""

    def __call__(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return its prediction, like x: x (n, *shape) of variance near 1, t (n,) by the schedule's clock."""
        ...


@runtime_checkable
class CountsCalls(Protocol):
    """A denoiser that counts its network's calls; one that calls twice (guidance) counts two."""

    calls: int


@runtime_checkable
class Clips(Protocol):
    """A denoiser that clamps x0 for the sake of samples; a density is that of its unclipped self."""

    def unclipped(self) -> Denoiser:
        """Return the same model without the clamp."""
        ...


class SigmaDenoiser:
    """A network with its schedule as a Denoiser.

    The network is fed alpha x, the scale it was trained at, and the schedule's time for sigma (rounded to a
    trained one where times are discrete); x0 is read from its output with sigma as given, not as rounded.

    Args:
        net: called as net(alpha x, t, cond).
        schedule: of the training.
        prediction: what the network says.
        clip_x0: clamp x0 to [-1, 1], the range of images. Samplers compute eps again from the clipped x0,
            so the identities between them hold.
        space: "latent" where x is an autoencoder's code.
        coupling: "dependent" where training paired noise with data, so that eps is not independent of x0.
    """

    def __init__(
        self,
        net: Net,
        schedule: NoiseSchedule,
        prediction: Prediction,
        *,
        clip_x0: bool = False,
        space: Literal["data", "latent"] = "data",
        coupling: Coupling = "independent",
    ) -> None:
        self.net = net
        self.schedule = schedule
        self.prediction: Prediction = prediction
        self.clip_x0 = clip_x0
        self.space: Literal["data", "latent"] = space
        self.coupling: Coupling = coupling
        self.sigma_min = schedule.ratio_min
        self.sigma_max = schedule.ratio_max
        self.prior_std = schedule.prior_std
        self.levels = schedule.levels
        self.calls = 0

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return the signal's coefficient at level sigma, like sigma."""
        return self.schedule.alpha_of(sigma)

    def unclipped(self) -> Self:
        """Return the same network and schedule without the clamp."""
        plain = copy(self)
        plain.clip_x0 = False
        return plain

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x], like x: x (n, *shape) at level sigma, a scalar or (n,)."""
        self.calls += 1
        alpha = self.alpha(sigma)
        noise = like(alpha * sigma, x)
        alpha = like(alpha, x)
        scaled = alpha * x
        # shape[0], not len(x): torch.export then keeps the batch size free.
        out = self.net(scaled, self.schedule.t_of(sigma).expand(x.shape[0]), cond)
        x0 = to_x0(out, scaled, alpha, noise, self.prediction)
        return x0.clamp(-1, 1) if self.clip_x0 else x0
