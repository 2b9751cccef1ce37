"""Neural spline flow (Durkan, Bekasov, Murray and Papamakarios 2019, arXiv:1906.04032), by zuko.

Half of the coordinates pass a monotonic rational-quadratic spline whose bins depend on the other half. zuko's
`NSF` is autoregressive unless `passes=2`: an autoregressive inverse takes D evaluations of the network. Its
splines act on [-5, 5] and are the identity outside, so `Coordinates` keeps the data inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from zoo_core.config import UNTUNED, Preset
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_normalizing_flow.recipe import POINTS, TINY, Bijection, Flow, FlowConfig, FlowModel

MAX_DIMS = 4096
"""Most values of an example: the last layer of each network has 3 bins - 1 outputs for each."""


class NSFModel(FlowModel):
    """The splines and the network of their parameters."""

    layers: int = Field(6, ge=2)
    """Number of coupling layers."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of each coupling's network."""
    bins: int = Field(8, ge=2)
    """Number of bins of a spline."""


class NSFConfig(FlowConfig):
    """One run of the neural spline flow."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset({**TINY, "model.layers": 2, "model.hidden": (32,)}, "for tests: seconds on one core"),
        "default@image<=16": UNTUNED,
        "default@points": Preset(
            {**POINTS, "model.layers": 4, "model.hidden": (64, 64), "train.steps": 2000},
            "for points; not tuned",
        ),
    }

    model: NSFModel = NSFModel()
    """The splines and their networks."""


class SplineCoupling(Bijection):
    """zuko's spline flow with coupling layers, as a bijection.

    Args:
        model: options.
        data: of images or points.
    """

    calls = 2  # the half that is left as it is, then the half that depends on it

    def __init__(self, model: NSFModel, data: DataInfo) -> None:
        super().__init__()
        from zuko.flows import NSF as ZukoNSF

        self.shape = data.shape
        self.flow = ZukoNSF(
            data.dims,
            transforms=model.layers,
            bins=model.bins,
            passes=2,
            randperm=data.is_image,  # of two coordinates, each layer has to change the other one
            hidden_features=model.hidden,
        )

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow().transform.call_and_ladj(y.flatten(1))
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        y: Tensor = self.flow().transform.inv(z)
        return y.unflatten(1, self.shape)


class NSF(Flow):
    """A flow of spline couplings."""

    def __init__(self, config: NSFConfig, data: DataInfo) -> None:
        if data.dims < 2 or data.dims > MAX_DIMS:
            raise UsageError(
                f"plugin 'nsf' transforms halves of an example in turn, and an example of {data.name!r} has "
                f"{data.dims:,} values",
                f"expected: 2 to {MAX_DIMS:,}",
                "next: smaller images (data.size), or plugin=realnvp",
            )
        super().__init__(config, data, SplineCoupling(config.model, data))
