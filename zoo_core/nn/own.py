"""A user's own network as the network of a diffusion model: `model.net=my_module:MyNet`.

It is built as `MyNet(data)` with the `DataInfo` of the run and called as `net(x, t, cond)`: x of shape
(n, *shape), t (n,) as the model's own networks are told it, cond a `Cond` or None. Nothing is imported here:
what may be built is made available by `zoo_core.runs.parts`, which asks for the user's trust first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.types import Cond, DataInfo

Factory = Callable[..., nn.Module]
"""Called with the data's DataInfo; returns a network."""

_available: ContextVar[Mapping[str, Factory] | None] = ContextVar("own networks", default=None)


@contextmanager
def available(networks: Mapping[str, Factory]) -> Iterator[None]:
    """Within the block: `own_network` builds these networks.

    Args:
        networks: value of the option `model.net` -> factory.
    """
    token = _available.set(networks)
    try:
        yield
    finally:
        _available.reset(token)


class OwnNetwork(nn.Module):
    """A user's network with the time it expects, whose outputs are checked.

    Args:
        net: called as net(x, t, cond).
        time_scale: factor on t that the model's own networks have, so that steps of 1 tell times apart.
        outputs: number of outputs of x's shape, side by side along axis 1.
        name: for messages.
    """

    def __init__(self, net: nn.Module, time_scale: float, outputs: int, name: str) -> None:
        super().__init__()
        self.net = net
        self.time_scale = time_scale
        self.outputs = outputs
        self.name = name

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return what the model learns to predict, (n, outputs * C, ...).

        Raises:
            UsageError: where the network returns another shape.
        """
        made: Tensor = self.net(x, (t * self.time_scale).to(x.dtype), cond)
        expected = (len(x), self.outputs * x.shape[1], *x.shape[2:])
        if tuple(made.shape) != expected:
            raise UsageError(
                f"model.net={self.name} returned shape {tuple(made.shape)} for x of shape {tuple(x.shape)}",
                f"expected: {expected}",
            )
        return made


def own_network(
    name: str,
    data: DataInfo,
    *,
    time_scale: float = 1.0,
    outputs: int = 1,
    augment: int = 0,
    times: int = 1,
) -> nn.Module:
    """Return a user's network for a model of the data.

    Args:
        name: value of `model.net`.
        data, time_scale, outputs, augment, times: as `build_backbone` takes them. Where there are several
            outputs, an augmentation label or several times, the factory must have a parameter `outputs`,
            `augment` or `times`.

    Raises:
        UsageError: where it isn't available, can't be built so, or builds something else than an nn.Module.
    """
    factory = (_available.get() or {}).get(name)
    if factory is None:
        raise UsageError(
            f"model.net={name} is not available here",
            "expected: a run made by `zoo run model.net=MODULE:NAME` or zoo_core.run(net=...)",
        )
    extras = {"outputs": outputs} if outputs != 1 else {}
    extras |= {"augment": augment} if augment else {}
    extras |= {"times": times} if times != 1 else {}
    try:
        inspect.signature(factory).bind(data, **extras)
    except TypeError as error:
        call = ", ".join(["data", *(f"{key}={value}" for key, value in extras.items())])
        raise UsageError(f"model.net={name} can't be called as {name}({call}): {error}") from error
    made = factory(data, **extras)
    if not isinstance(made, nn.Module):
        raise UsageError(f"model.net={name} built a {type(made).__name__}", "expected: a torch.nn.Module")
    return OwnNetwork(made, time_scale, outputs, name)
