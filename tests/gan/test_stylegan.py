"""StyleGAN's parts: AdaIN and modulation, styles and noise, lazy penalties and path length."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from zoo_core.config import OptimizerConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.errors import UsageError
from zoo_core.nn.adain import adain, statistics
from zoo_core.registry.resolution import plain, resolve
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.training.optim import build_optimizer
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_gan.equalized import EqualConv2d, EqualLinear
from zoo_gan.penalties import lazily, path_lengths, r1
from zoo_gan.stylegan import StyleGAN, StyleGANConfig
from zoo_gan.stylegan_critic import StyleCritic, minibatch_deviation
from zoo_gan.stylegan_networks import ModulatedConv2d, StyleGenerator, StyleNetworksModel, demodulation, mix

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def rng(name: str = "test") -> torch.Generator:
    return generator(0, name)


def maps(n: int = 3, c: int = 5, side: int = 6, name: str = "maps") -> torch.Tensor:
    return 2 + 3 * torch.randn(n, c, side, side + 1, generator=rng(name), dtype=torch.float64)


def recipe_of(*words: str) -> StyleGAN:
    torch.manual_seed(0)
    config = resolve(["plugin=stylegan", "preset=tiny", *words])
    assert isinstance(config, StyleGANConfig)
    return StyleGAN(config, DIGITS)


def loud(recipe: StyleGAN) -> StyleGAN:
    """Return the recipe with noise switched on: its scales start at zero."""
    for name, parameter in recipe.named_parameters():
        if name.endswith("noise_scale"):
            nn.init.constant_(parameter, 0.5)
    return recipe


def request(n: int, seed: int = 0) -> SampleRequest:
    return SampleRequest(Seeds(seed, range(n)))


# -- AdaIN


def test_adain_in_its_own_style_changes_nothing() -> None:
    x = maps()
    torch.testing.assert_close(adain(x, *statistics(x)), x, rtol=1e-12, atol=1e-12)


def test_adains_output_has_the_styles_mean_and_deviation() -> None:
    mean, std = statistics(maps(side=9, name="style"))
    out = adain(maps(), mean, std)
    torch.testing.assert_close(out.mean((2, 3), keepdim=True), mean, rtol=1e-12, atol=1e-12)
    measured = out.var((2, 3), correction=0, keepdim=True).sqrt()
    torch.testing.assert_close(measured, std, rtol=1e-5, atol=0)  # to the epsilon under the content's root


def test_adain_does_not_see_an_affine_map_of_the_contents_channels() -> None:
    x, (mean, std) = maps(), statistics(maps(name="style"))
    scale, shift = torch.tensor([0.5, 2, 30, 7, 1.0]), torch.tensor([-4, 0, 100, 1, 3.0])
    moved = x * scale[:, None, None].double() + shift[:, None, None].double()
    torch.testing.assert_close(adain(moved, mean, std), adain(x, mean, std), rtol=1e-4, atol=1e-4)


def test_a_image_is_normalized_alone() -> None:
    """Catches statistics over the batch, as batch norm's (E27): one image and three must give the same."""
    x, style = maps(), maps(name="style")
    alone = torch.cat([adain(a[None], *statistics(b[None])) for a, b in zip(x, style, strict=True)])
    torch.testing.assert_close(adain(x, *statistics(style)), alone, rtol=1e-12, atol=1e-12)


def test_a_flat_channel_has_a_finite_gradient() -> None:
    """Catches an epsilon outside the root: the root's slope at a variance of zero is infinite."""
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    mean, std = statistics(x)
    assert float(std.detach()) == pytest.approx(math.sqrt(1e-5))
    (adain(x, torch.ones_like(mean), torch.ones_like(std)).square().sum() + std.sum()).backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


# -- modulation, and layers


def test_demodulated_weights_have_unit_norm() -> None:
    weight = torch.randn(7, 5, 3, 3, generator=rng(), dtype=torch.float64)
    style = torch.randn(4, 5, generator=rng("s"), dtype=torch.float64)
    for n, factors in enumerate(demodulation(weight, style)):
        own = factors[:, None, None, None] * style[n][None, :, None, None] * weight
        torch.testing.assert_close(own.flatten(1).norm(dim=1), torch.ones(7).double(), rtol=1e-7, atol=0)


def test_modulating_the_maps_is_modulating_the_weights() -> None:
    """Against a convolution of each image with weights of its own (StyleGAN2, Eq. 1 and 3)."""
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 7, 3, latent_dim=4).double()
    x, w = maps(n=2), torch.randn(2, 4, generator=rng("w"), dtype=torch.float64)
    for n in range(2):
        style = layer.affine(w[n : n + 1])[0]
        own = layer.convolution.weight * layer.convolution.gain * style[None, :, None, None]
        own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = nn.functional.conv2d(x[n : n + 1], own, padding=1)
        torch.testing.assert_close(layer(x, w)[n : n + 1], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layer", [EqualLinear(300, 400), EqualConv2d(64, 96, 3)])
def test_equalized_layers_keep_variance_and_start_alike(layer: nn.Module) -> None:
    """Weights are N(0, 1) whatever the fan-in; catches a scale that sits in the initial weights."""
    weight = next(p for p in layer.parameters() if p.ndim > 1)
    assert float(weight.detach().std()) == pytest.approx(1, rel=0.03)
    shape = (64, weight.shape[1]) if weight.ndim == 2 else (8, weight.shape[1], 16, 16)
    out = layer(torch.randn(shape, generator=rng()))
    inner = out[..., 2:-2, 2:-2] if out.ndim == 4 else out
    assert float(inner.detach().std()) == pytest.approx(1, rel=0.05)


def test_the_batchs_spread_is_one_number_a_group() -> None:
    x = torch.randn(8, 3, 2, 2, generator=rng())
    out = minibatch_deviation(x)
    assert tuple(out.shape) == (8, 4, 2, 2)
    torch.testing.assert_close(out[:, :3], x)
    for k in range(2):  # images k, k + 2, k + 4, k + 6 are a group
        expected = (x[k::2].var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(out[k::2, 3], expected.expand(4, 2, 2))
    equal = minibatch_deviation(x[:1].expand(4, -1, -1, -1))
    assert float(equal[:, 3].abs().max()) <= 1e-4 + 1e-6


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (1, 12, 20)])
def test_the_nets_fit_any_even_image(version: int, shape: tuple[int, ...]) -> None:
    model = StyleNetworksModel(version=version, latent_dim=8, generator_width=4, critic_width=4, max_width=16)
    data = DataInfo("images", shape, levels=256)
    made = StyleGenerator(model, data)
    x = made(torch.randn(2, 8, generator=rng()))
    assert tuple(x.shape) == (2, *shape)
    assert tuple(StyleCritic(model, data)(x).shape) == (2,)
    if shape == (3, 64, 64):  # 4, 8, 16, 32, 64: two layers each, but one at 4 x 4 in version 2
        assert made.synthesis.styles == (10 if version == 1 else 9)
        assert made.synthesis.sides[0] == (4, 4)


def test_z_is_brought_to_the_sphere() -> None:
    made = recipe_of().generator
    z = torch.randn(3, 8, generator=rng())
    torch.testing.assert_close(made.mapping(z), made.mapping(17 * z), rtol=1e-4, atol=1e-5)


# -- styles and noise


def test_mixing_at_layer_0_is_the_other_style_alone_and_at_the_last_the_first() -> None:
    w, other = torch.zeros(3, 5, 2), torch.ones(3, 5, 2)
    mixed = mix(w, other, torch.tensor([0, 2, 5]))
    assert mixed[:, :, 0].sum(1).tolist() == [5, 3, 0]
    assert mixed[1, :, 0].tolist() == [0, 0, 1, 1, 1]


def test_the_share_of_mixed_images_is_the_one_asked_for() -> None:
    """Never at layer 0, where nothing of the first style would be left."""
    recipe = recipe_of("model.mixing=0.9")
    styles = recipe.styled(4000, Context(0, 0.0, 0, rng()))
    mixed = (styles[:, 0] != styles[:, -1]).any(1)
    assert float(mixed.float().mean()) == pytest.approx(0.9, abs=0.02)
    changes = (styles[:, 1:] != styles[:, :-1]).any(2).float().mean(0)
    torch.testing.assert_close(changes, torch.full((4,), 0.9 / 4), atol=0.03, rtol=0)


@pytest.mark.parametrize("version", [1, 2])
def test_without_noise_a_style_is_one_image(version: int) -> None:
    recipe = loud(recipe_of(f"model.version={version}"))
    z = torch.randn(1, 8, generator=rng()).expand(3, -1)
    with torch.no_grad():
        silent = recipe.generator(z)
        noisy = recipe.from_latents(z, request(3))
    assert torch.equal(silent[0], silent[1])
    assert not torch.allclose(noisy[0], noisy[1])


def test_every_layers_noise_has_one_channel_and_its_own_side() -> None:
    made = recipe_of().generator
    noise = made.noise(torch.randn(3, made.noise_size, generator=rng()))
    assert [tuple(part.shape) for part in noise] == [(3, 1, *sides) for sides in made.synthesis.sides]
    assert made.noise_size == 4 + 2 * 16 + 2 * 64


@pytest.mark.parametrize("version", [1, 2])
def test_truncation_to_0_leaves_one_image_and_to_1_changes_nothing(version: int) -> None:
    def drawn(psi: float) -> torch.Tensor:
        recipe = recipe_of(f"model.version={version}", f"sample.truncation={psi}")
        recipe.generator.w_mean.copy_(torch.randn(8, generator=rng("mean")))
        with torch.no_grad():
            return recipe.sample(request(4)).x

    none = drawn(0)
    torch.testing.assert_close(none, none[:1].expand(4, -1, -1, -1))
    with torch.no_grad():
        recipe = recipe_of(f"model.version={version}")
        whole = recipe.generator(request(4).noise.randn((8,)))
    torch.testing.assert_close(drawn(1), whole)  # noise is silent before training
    assert not torch.allclose(drawn(0.5)[0], drawn(0.5)[1])


def test_the_mean_of_w_is_that_of_the_mapping() -> None:
    recipe = recipe_of()
    sums = {"w": torch.full((8,), 60.0), "count": torch.tensor(20.0)}
    recipe.after_generator(sums, {})
    torch.testing.assert_close(recipe.generator.w_mean, torch.full((8,), 3 * 0.005))


# -- penalties


def test_path_lengths_of_a_linear_generator() -> None:
    """x = A w has J = A: the length is |A^T y|, whose mean square over y is the squared norm of A."""
    a = torch.randn(1 * 4 * 4, 6, generator=rng(), dtype=torch.float64)
    w = torch.randn(5000, 1, 6, generator=rng("w"), dtype=torch.float64, requires_grad=True)
    x = (w[:, 0] @ a.T).unflatten(1, (1, 4, 4))
    y = torch.randn(x.shape, generator=rng("y"), dtype=torch.float64) / 4  # sqrt(H W)
    lengths = path_lengths(x, w, y)
    torch.testing.assert_close(lengths, (y.flatten(1) @ a).norm(dim=1))
    assert float(lengths.square().mean()) == pytest.approx(float(a.square().sum()) / 16, rel=0.05)


def test_the_path_penalty_moves_its_mean_and_has_the_weight_of_its_steps() -> None:
    recipe = recipe_of("model.path_every=8", "model.path_weight=3")
    batch = Batch(torch.zeros(16, 1, 8, 8), Cond(), torch.arange(16))
    loss = recipe.path_phase(batch, Context(0, 0.0, 0, rng()))
    torch.testing.assert_close(loss.loss.detach(), 24 * loss.log["penalty"])
    recipe.after_path(loss.sums, {})
    torch.testing.assert_close(recipe.path_mean, 0.01 * loss.log["length"])
    assert float(loss.sums["count"]) == 8  # half of the batch


def test_lazy_r1_weighs_as_much_as_at_every_step() -> None:
    """The mean gradient over 16 steps is that of the full-rate penalty; catches a factor left out."""
    recipe = recipe_of("model.augment=[]", "model.r1=0.7", "model.r1_every=16")
    x = torch.randn(16, 1, 8, 8, generator=rng())
    batch, weight = Batch(x, Cond(), torch.arange(16)), recipe.critic.get_parameter("last.weight")
    lazy = recipe.r1_phase(batch, Context(0, 0.0, 0, rng())).loss
    full = 0.7 / 2 * r1(recipe.critic, x)
    mean = [g / 16 for g in torch.autograd.grad(lazy, weight)]
    torch.testing.assert_close(mean, list(torch.autograd.grad(full, weight)), rtol=1e-4, atol=1e-6)


def test_lazy_penalties_share_their_networks_optimizer_and_it_allows_for_them() -> None:
    """StyleGAN2, appendix B: c = 16 / 17; catches a second Adam with moments of its own."""
    recipe = recipe_of()
    (stage,) = recipe.stages()
    phases = {phase.name: phase for phase in stage.phases}
    assert (phases["r1"].optimizer, phases["r1"].every) == ("critic", 16)
    assert (phases["path"].optimizer, phases["path"].every) == ("generator", 8)
    asked = recipe.config.optim.critic
    c = 16 / 17
    critic = stage.optimizers["critic"]
    assert critic.lr == pytest.approx(c * asked.lr)
    assert critic.betas == pytest.approx((asked.betas[0] ** c, asked.betas[1] ** c))
    assert lazily(OptimizerConfig(lr=1.0, betas=(0.0, 0.5)), 1).betas == pytest.approx((0.0, 0.5**0.5))


def test_the_mapping_network_learns_at_a_hundredth_of_the_rate(tmp_path: Path) -> None:
    """Through a config that was written and read: dotted names in a mapping of options must survive it."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(resolve(["plugin=stylegan", "preset=tiny"]))))
    config = resolve([f"config={tmp_path}"])
    assert isinstance(config, StyleGANConfig)
    assert config.optim.generator.lr_mult == {"generator.mapping": 0.01}
    recipe = StyleGAN(config, DIGITS)
    (stage,) = recipe.stages()
    named = [(f"generator.{name}", p) for name, p in recipe.generator.named_parameters()]
    optimizer = build_optimizer(stage.optimizers["generator"], named)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    lr = stage.optimizers["generator"].lr
    for name, parameter in named:
        factor = 0.01 if name.startswith("generator.mapping.") else 1
        assert rates[id(parameter)] == pytest.approx(factor * lr), name


# -- the game


@pytest.mark.parametrize("version", [1, 2])
def test_a_run_updates_each_phase_as_often_as_it_says(version: int) -> None:
    recipe = recipe_of(f"model.version={version}", "train.steps=18")
    levels = torch.randint(0, 17, (64, 1, 8, 8), dtype=torch.uint8, generator=rng())
    harness = Harness(recipe, recipe.config.train, TrainData(Resident(levels), DIGITS, 0))
    harness.run()
    counts = {name.split("/")[1]: count for name, count in harness.counts.updates.items()}
    assert counts == {"critic": 18, "r1": 2, "generator": 18, "path": 3}
    assert float(recipe.generator.w_mean.abs().max()) > 0
    assert float(recipe.path_mean) > 0


def test_points_are_refused_by_name() -> None:
    config = resolve(["plugin=stylegan", "data=ring"])
    assert isinstance(config, StyleGANConfig)
    with pytest.raises(UsageError, match="ring") as caught:
        StyleGAN(config, DataInfo("ring", (2,), None))
    assert "next: plugin=gan" in str(caught.value)
