"""Image to image without pairs (Zhu, Park, Isola and Efros 2017, arXiv:1703.10593): two translators, two
critics.

g makes images of domain B from those of A, f the other way round; a critic of patches of each domain tells
its images from translations. With least squares the critic of B minimizes

    E_b[(D_B(b) - 1)^2] + E_a[D_B(g(a))^2]

halved, as its authors do, and g minimizes E_a[(D_B(g(a)) - 1)^2]; likewise D_A and f. A translation must
return to its source when translated back, and an image of the target domain must not change:

    lambda (E_a[|f(g(a)) - a|_1] + E_b[|g(f(b)) - b|_1]) + lambda mu (E_b[|g(b) - b|_1] + E_a[|f(a) - a|_1])

with lambda = 10 and mu = 0.5 (Eq. 2 and section 5.2), |.|_1 the mean over values. Critics are shown images
from a pool of the last ones made. No pairs of an image of A and an image of B are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import DEFAULTS, DataConfig, EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.nn.dcgan import init_weights
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss, SampleRequest, Samples
from zoo_gan.game import GameOptim, watch
from zoo_gan.losses import least_squares
from zoo_gan.patches import PatchCritic
from zoo_gan.pool import Pool
from zoo_gan.translators import ResNetModel, ResNetTranslator


class CycleGANModel(ResNetModel):
    """The translators, the critics and their losses."""

    cycle: float = Field(10.0, ge=0)
    """Weight lambda of the cycle consistency loss, the mean absolute difference after a translation in both
    directions."""
    identity: float = Field(0.5, ge=0)
    """mu: weight of the change of images that are of the target domain already, in units of lambda; 0 where
    channels differ."""
    pool: int = Field(50, ge=0)
    """Size of the pool of earlier translations that the critics see again, per domain; 0 for new translations
    only."""


class CycleGANConfig(RunConfig):
    """Image to image without pairs."""

    PRESETS = {
        "paper": Preset(
            {
                "model.generator_width": 64,
                "model.halvings": 2,
                "model.blocks": 9,
                "model.critic_width": 64,
                "model.patch_layers": 3,
                "model.norm": "instance",
                "model.pool": 50,
                "train.batch_size": 1,
                **adam("optim.critic", lr=2e-4, betas=(0.5, 0.999)),
                **adam("optim.generator", lr=2e-4, betas=(0.5, 0.999)),
                **ema(),
                "data.hflip": True,
            },
            "Zhu et al. 2017, sections 4 and 7.2, for images of 256x256: data=folder data.pairs=folders "
            "data.size=256; constant rate, which the paper lowers in its second half",
        ),
        "tiny": Preset(
            {
                "model.generator_width": 8,
                "model.critic_width": 8,
                "model.blocks": 1,
                "train.steps": 20,
                "train.batch_size": 16,
                "train.log_every": 5,
            },
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"train.steps": 1400, "train.batch_size": 8},
            "for 28x28 and 32x32: sized for eight minutes of one core",
        ),
    }

    data: DataConfig = DataConfig(source="lowres")
    """Data; with edges as sources, a translator of small digits may learn to make other digits."""
    model: CycleGANModel = CycleGANModel()
    """Networks and losses."""
    optim: GameOptim = GameOptim()
    """Optimizers, one for both translators and one for both critics."""
    train: TrainConfig = TrainConfig(steps=800, batch_size=32, ema=EmaConfig(decay=0.98))
    """Training."""


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference."""
    return (a - b).abs().mean()


class Translators(nn.Module):
    """Both translators, g from A to B and f back: averaged and updated as one.

    Args:
        there: g.
        back: f.
    """

    def __init__(self, there: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.there, self.back = there, back

    def cycle(self, a: Tensor, b: Tensor, made_b: Tensor, made_a: Tensor) -> Tensor:
        """Return E[|f(g(a)) - a|_1] + E[|g(f(b)) - b|_1], given g(a) and f(b) (Eq. 2)."""
        return l1(self.back(made_b), a) + l1(self.there(made_a), b)

    def identity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return E[|g(b) - b|_1] + E[|f(a) - a|_1] (section 5.2)."""
        return l1(self.there(b), b) + l1(self.back(a), a)


class CycleGAN(Recipe):
    """Two translators and two critics; a batch's `second` is of domain A, its `x` of domain B.

    Raises:
        UsageError: for sides that translators or critics can't take.
    """

    def __init__(self, config: CycleGANConfig, data: DataInfo) -> None:
        super().__init__()
        model = config.model
        b, height, width = data.shape
        a, size = data.image_channels, (height, width)
        self.config = config
        self.translators = Translators(
            ResNetTranslator(model, (a, b), size), ResNetTranslator(model, (b, a), size)
        )
        self.critic_a, self.critic_b = (PatchCritic(model, channels, size) for channels in (a, b))
        self.pool_a, self.pool_b = (Pool(model.pool, (channels, *size)) for channels in (a, b))
        self.same_channels = a == b
        self.adversarial = least_squares()
        if model.init == "dcgan":
            self.apply(init_weights)

    # -- training

    def stages(self) -> Sequence[Stage]:
        optim = self.config.optim
        critics = [self.critic_a, self.critic_b]
        phases = [
            Phase("critic", self.critic_phase, critics, "critic", after_step=self.keep_made),
            Phase("generator", self.generator_phase, [self.translators], "generator"),
        ]
        optimizers = {"critic": optim.critic, "generator": optim.generator}
        return [Stage("adversarial", phases, optimizers, ema={"translators": self.config.train.ema})]

    def critic_phase(self, batch: Batch, context: Context) -> Loss:
        """Return both critics' losses on a batch and on translations, new or from the pools."""
        a, b = domains(batch)
        with torch.no_grad():
            made_a, made_b = self.translators.back(b), self.translators.there(a)
        shown_a, where_a = self.pool_a.draw(made_a, context.rng)
        shown_b, where_b = self.pool_b.draw(made_b, context.rng)
        log: dict[str, Tensor] = {}
        loss = torch.zeros((), device=b.device)
        for name, critic, real, fake in (
            ("a", self.critic_a, a, shown_a),
            ("b", self.critic_b, b, shown_b),
        ):
            real_score, fake_score = critic(real), critic(fake)
            loss = loss + self.adversarial.critic(real_score, fake_score)
            seen = watch(real_score, fake_score, self.adversarial.boundary)
            log |= {f"{what}_{name}": value for what, value in seen.items()}
        keep = {"made_a": made_a, "where_a": where_a, "made_b": made_b, "where_b": where_b}
        return Loss(loss, log=log, keep=keep)

    def keep_made(self, sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Keep in the pools what was made."""
        self.pool_a.keep(keep["made_a"], keep["where_a"])
        self.pool_b.keep(keep["made_b"], keep["where_b"])

    def generator_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the translators' loss: adversarial, cycle and identity terms."""
        model = self.config.model
        a, b = domains(batch)
        made_a, made_b = self.translators.back(b), self.translators.there(a)
        # Least squares have a half that the translators' losses have not in the paper.
        game = 2 * (
            self.adversarial.generator(self.critic_a(made_a))
            + self.adversarial.generator(self.critic_b(made_b))
        )
        cycle = self.translators.cycle(a, b, made_b, made_a)
        loss, log = game + model.cycle * cycle, {"game": game.detach(), "cycle": cycle.detach()}
        if model.identity and self.same_channels:
            identity = self.translators.identity(a, b)
            loss, log = loss + model.cycle * model.identity * identity, log | {"identity": identity.detach()}
        return Loss(loss, log=log)

    # -- sampling

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        """Return the critic's mean score over the patches of each image of domain B, (n,)."""
        return self.critic_b(x).reshape(len(x), -1).mean(1)

    def sample(self, request: SampleRequest) -> Samples:
        """Translate the requested images of domain A; nothing is random."""
        assert request.cond is not None
        assert request.cond.image is not None
        return Samples(self.translate(request.cond.image, noise=request.noise))

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return images of domain B made of those of A, (n, C, H, W) in [-1, 1]."""
        return self.translators.there(x)

    def translate_back(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return images of domain A made of those of B, (n, C', H, W) in [-1, 1]."""
        return self.translators.back(x)


def domains(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the images of domain A and of domain B."""
    assert batch.second is not None
    return batch.second, batch.x
