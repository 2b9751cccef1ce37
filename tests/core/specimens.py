"""A sound model, sampler, dataset, extractor and metric, and what each looks like when broken in one way."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, field_validator
from torch import Tensor, nn

from zoo_core.config import Config, DataConfig, OptimizerConfig, Preset, RunConfig, SamplerConfig
from zoo_core.data.likelihood import dequantized
from zoo_core.data.loading import Dataset, Domain, Resident, TrainData, dequantize
from zoo_core.data.splits import resident
from zoo_core.diffusion.samplers import euler, heun
from zoo_core.errors import UsageError
from zoo_core.results import Value
from zoo_core.seeds import Seeds, generator
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples

TINY = {"tiny": Preset({"train.steps": 40, "train.batch_size": 32, "train.ema.decay": 0.9}, "for tests")}


class Model(Config):
    """Options."""

    scale: float = 0.2
    """Of the first samples."""


class SoundConfig(RunConfig):
    """A run."""

    PRESETS: ClassVar[Mapping[str, Preset]] = TINY
    model: Model = Model()
    """The model."""


class Swallows(Model):
    model_config = ConfigDict(extra="ignore")


class Moves(Model):
    @field_validator("scale")
    @classmethod
    def _move(cls, value: float) -> float:
        return value + 1


class Silent(Model):
    width: int = 3


class SwallowsConfig(SoundConfig):
    model: Swallows = Swallows()
    """The model."""


class MovesConfig(SoundConfig):
    model: Moves = Moves()
    """The model."""


class SilentConfig(SoundConfig):
    model: Silent = Silent()
    """The model."""


class NoTinyConfig(SoundConfig):
    PRESETS: ClassVar[Mapping[str, Preset]] = {}


class BadPresetConfig(SoundConfig):
    PRESETS: ClassVar[Mapping[str, Preset]] = TINY | {
        "paper": Preset({"model.skale": 1}, "a misspelled option")
    }


class Affine(nn.Module):
    """x = mean + L z, L lower triangular with a positive diagonal."""

    def __init__(self, dims: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dims, dims), 0.01) + math.log(scale) * torch.eye(dims))
        self.mean = nn.Parameter(torch.full((1, dims), 0.1))

    def factor(self) -> Tensor:
        return self.weight.tril(-1) + self.weight.diagonal().exp().diag()

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + z @ self.factor().T

    def inverse(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor(), (x - self.mean).T, upper=False).T

    def log_prob(self, x: Tensor) -> Tensor:
        z = self.inverse(x)
        constant = self.weight.diagonal().sum() + 0.5 * x.shape[1] * math.log(2 * math.pi)
        return -0.5 * z.square().sum(1) - constant


class Sound(Recipe):
    """A Gaussian learned by gradient, with every ability: exact density, codes, translation, an average."""

    def __init__(self, config: SoundConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.net = Affine(data.dims, config.model.scale)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def stages(self) -> Sequence[Stage]:
        phase = Phase("fit", self.loss, [self.net], "net", after_step=self.after)
        optim = {"net": OptimizerConfig(lr=1e-2)}
        return [Stage("train", [phase], optim, ema={"net": self.config.train.ema}, begin=self.begin)]

    def begin(self, data: TrainData) -> None:
        self.seen.zero_()

    def after(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        self.seen += sums["n"]

    def loss(self, batch: Batch, context: Context) -> Loss:
        x = batch.x
        if self.data.levels is not None:
            x = dequantize(x, self.data.levels, torch.rand(x.shape, generator=context.rng, device=x.device))
        loss = -self.net.log_prob(x.flatten(1)).mean()
        return Loss(loss, log={"nll": loss.detach()}, sums={"n": torch.tensor(len(batch))})

    def sample(self, request: SampleRequest) -> Samples:
        z = request.noise.randn((self.data.dims,))
        return Samples(self.net(z).unflatten(1, self.data.shape))

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        def density(x: Tensor) -> Tensor:
            return self.net.log_prob(x.flatten(1).float()).double()

        if self.data.levels is None:
            return [Likelihood(density(x), "exact")]
        log_prob = dequantized(density, x, self.data.levels, noise=noise)
        return [Likelihood(log_prob, "exact", dequantization="uniform")]

    def encode(self, x: Tensor) -> Tensor:
        return self.net.inverse(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.net(z).unflatten(1, self.data.shape)

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        return -x + 0.1 * noise.randn(x.shape[1:])


class UnusedLayer(Sound):
    def __init__(self, config: SoundConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.net.extra = nn.Linear(2, 2)


class UntrainedLayer(Sound):
    def __init__(self, config: SoundConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.extra = nn.Linear(2, 2)


class Strays(Sound):
    def after(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        super().after(sums, keep)
        self.frozen.weight.mul_(0.9)


class CountsInLoss(Sound):
    calls = 0

    def loss(self, batch: Batch, context: Context) -> Loss:
        self.calls += 1
        return Loss(super().loss(batch, context).loss + 0.1 * self.calls, sums={"n": torch.tensor(1)})


class GoesBackward(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        super().loss(batch, context).loss.backward()
        return super().loss(batch, context)


class Climbs(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        made = super().loss(batch, context)
        return replace(made, loss=2 * made.loss.detach() - made.loss)  # its value, and the opposite gradient


class NotAScalar(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        made = super().loss(batch, context)
        return replace(made, log={"nll": made.loss})


class OwnGenerator(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        made = super().loss(batch, context)
        self.rng = getattr(self, "rng", None) or random.Random(0)
        return replace(made, loss=made.loss * (1 + self.rng.random()))


class GlobalLoss(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        made = super().loss(batch, context)
        return replace(made, loss=made.loss * (1 + torch.rand(()) + random.random()))


class SeedsInLoss(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        torch.manual_seed(0)
        return super().loss(batch, context)


class ScaleOutsideState(Sound):
    scale = 1.0

    def begin(self, data: TrainData) -> None:
        self.scale = 2.0

    def sample(self, request: SampleRequest) -> Samples:
        return Samples(super().sample(request).x * self.scale)


class SharedBuffer(Sound):
    def __init__(self, config: SoundConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("shadow", self.net.mean.data)


class AveragesNothing(Sound):
    def stages(self) -> Sequence[Stage]:
        (stage,) = super().stages()
        return [replace(stage, ema={"nett": self.config.train.ema})]


class AveragesTheFrozen(Sound):
    def stages(self) -> Sequence[Stage]:
        (stage,) = super().stages()
        return [replace(stage, ema={"frozen": self.config.train.ema})]


class StaysBehind(Sound):
    def __init__(self, config: SoundConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.table = torch.ones(data.dims)

    def loss(self, batch: Batch, context: Context) -> Loss:
        made = super().loss(batch, context)
        return replace(made, loss=made.loss + 0 * (batch.x.flatten(1) * self.table).mean())


class GlobalNoise(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        return Samples(self.net(torch.randn(len(request), self.data.dims)).unflatten(1, self.data.shape))


class MixesTheBatch(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        x = super().sample(request).x
        return Samples(x - x.mean(0))


class OneSample(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        return Samples(super().sample(request).x[:1].expand(len(request), *self.data.shape))


class WrongShape(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        return Samples(super().sample(request).x.flatten(1)[:, None])


class WrongRange(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        return Samples(super().sample(request).x.sigmoid())


class Miscounts(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        return Samples(super().sample(request).x, calls=7)


class HeedsAnyway(Sound):
    def sample(self, request: SampleRequest) -> Samples:
        x = super().sample(request).x
        return Samples(x if request.cond is None else x + 1)


class Unnormalized(Sound):
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        return [replace(one, log_prob=one.log_prob + 1) for one in super().likelihoods(x, noise=noise, k=k)]


class BoundAboveTheTruth(Sound):
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        made = super().likelihoods(x, noise=noise, k=k)
        return [replace(one, kind="elbo", log_prob=one.log_prob + 1) for one in made]


class SinglePrecision(Sound):
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        return [
            replace(one, log_prob=one.log_prob.float()) for one in super().likelihoods(x, noise=noise, k=k)
        ]


class UnknownKind(Sound):
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        made = super().likelihoods(x, noise=noise, k=k)
        return [replace(one, kind="guess") for one in made]  # type: ignore[arg-type]


class RandomCodes(Sound):
    def encode(self, x: Tensor) -> Tensor:
        z = super().encode(x)
        return z + torch.randn_like(z)


class TranslatesNothing(Sound):
    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        return noise.randn(x.shape[1:])


class Raises(Sound):
    def loss(self, batch: Batch, context: Context) -> Loss:
        raise RuntimeError("boom")


# -- samplers


class Options(SamplerConfig):
    """Options."""

    eta: float = 0.0
    """Of nothing."""


def global_noise(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    return euler(denoise, x + 0.1 * torch.randn_like(x), sigmas, noise=noise, callback=callback)


def in_place(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    x *= 1.0001
    return euler(denoise, x, sigmas, noise=noise, callback=callback)


def too_wide(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    return 1.3 * euler(denoise, x, sigmas, noise=noise, callback=callback)


def untold(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    return euler(denoise, x, sigmas, noise=noise)


def double(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    return euler(denoise, x, sigmas, noise=noise, callback=callback).double()


def chatty(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    print("chatter")
    return heun(denoise, x, sigmas, noise=noise, callback=callback)


def chatty_and_wide(denoise: Any, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Any = None) -> Tensor:
    return 1.3 * chatty(denoise, x, sigmas, noise=noise, callback=callback)


def refuses(denoise: Any, steps: int) -> Tensor:
    raise UsageError("no denoiser is good enough")


def ascending(denoise: Any, steps: int) -> Tensor:
    return torch.linspace(0, denoise.sigma_max, steps + 1, dtype=torch.float64)


# -- datasets


def _points(n: int, name: str = "train") -> Resident:
    return Resident(torch.randn(n, 2, generator=generator(0, "specimen", name)).clamp(-4, 4))


def sound_data(config: DataConfig) -> Dataset:
    info = DataInfo(config.name, (2,), levels=None)
    return resident(info, _points(200), _points(50, "test"))


def leaks(config: DataConfig) -> Dataset:
    info = DataInfo(config.name, (2,), levels=None)
    train = _points(200)
    return resident(info, train, Resident(train.x[:50]))


def unseeded(config: DataConfig) -> Dataset:
    info = DataInfo(config.name, (2,), levels=None)
    return resident(info, Resident(torch.randn(200, 2)), _points(50, "test"))


def too_bright(config: DataConfig) -> Dataset:
    info = DataInfo(config.name, (1, 2, 2), levels=3)
    x = torch.randint(9, (200, 1, 2, 2), generator=generator(0, "bright")).to(torch.uint8)
    return resident(info, Resident(x[:150]), Resident(x[150:]))


def lost_class(config: DataConfig) -> Dataset:
    info = DataInfo(config.name, (2,), levels=None, classes=3)
    label = torch.arange(200) % 2
    return resident(info, _points(200).having(label=label), _points(50, "test").having(label=label[:50]))


def untold_channels(config: DataConfig) -> Dataset:
    """Brings images that its own are made from, and does not say of how many channels they are."""
    info = DataInfo(config.name, (1, 2, 2), levels=3)
    x = torch.randint(3, (200, 1, 2, 2), generator=generator(0, "pairs")).to(torch.uint8)
    made = resident(info, Resident(x[:150]), Resident(x[150:]))
    origin = Domain("same", made.train, made.test)
    train, test = (table.having(source=table.column("image")) for table in (made.train, made.test))
    return replace(made, train=train, test=test, origin=origin)


class _WrongDensity:
    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * x.double().square().sum(1)

    def score(self, x: Tensor) -> Tensor:
        return -x


def unnormalized(config: DataConfig) -> Dataset:
    return replace(sound_data(config), density=_WrongDensity())


# -- extractors and metrics


class Features:
    """Pixels as features."""

    name, sha256, dim = "specimen", "none", 64

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        return levels.float().flatten(1), None


class Shuffled(Features):
    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        x = levels.float().flatten(1)
        return x - x.mean(0), None


class Narrow(Features):
    dim = 3


class Unhashed(Features):
    sha256 = "latest"


def features(config: Any, device: Any) -> Features:
    return Features()


def shuffled(config: Any, device: Any) -> Features:
    return Shuffled()


def narrow(config: Any, device: Any) -> Features:
    return Narrow()


def unhashed(config: Any, device: Any) -> Features:
    return Unhashed()


def _gap(real: Any, fake: Any) -> float:
    return float((real.values.mean(0) - fake.values.mean(0)).norm())


def sound_metric(ctx: Any) -> dict[str, Any]:
    return {"gap": Value(value=_gap(ctx.train, ctx.generated))}


def plain_number(ctx: Any) -> dict[str, Any]:
    return {"gap": 1.0}


def undeclared(ctx: Any) -> dict[str, Any]:
    return {"other[x]": Value(value=1.0)}


def random_metric(ctx: Any) -> dict[str, Any]:
    return {"gap": Value(value=_gap(ctx.train, ctx.generated) + float(torch.rand(())))}


def changes_features(ctx: Any) -> dict[str, Any]:
    ctx.generated.values.mul_(1.01)
    return sound_metric(ctx)
