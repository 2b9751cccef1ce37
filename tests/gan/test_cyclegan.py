"""CycleGAN: the two losses that its slides get wrong, the pool, and a resume in the middle of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.making import context
from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import TrainData
from zoo_core.errors import UsageError
from zoo_core.interfaces import TwoWay
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, DataInfo
from zoo_gan.cyclegan import CycleGAN, CycleGANConfig, Translators
from zoo_gan.pool import Pool

INFO = DataInfo("domains", (1, 8, 8), 17, image_channels=1, task="unpaired")


def build(*words: str, info: DataInfo = INFO) -> CycleGAN:
    torch.manual_seed(0)
    preset = [] if any(word.startswith("preset=") for word in words) else ["preset=tiny"]
    config = resolve(["plugin=cyclegan", *preset, *words])
    assert isinstance(config, CycleGANConfig)
    return CycleGAN(config, info)


def batch(n: int = 8, info: DataInfo = INFO) -> Batch:
    rng = generator(1, "batch")
    channels, *size = info.shape
    x = 2 * torch.rand(n, channels, *size, generator=rng) - 1
    second = 2 * torch.rand(n, info.image_channels, *size, generator=rng) - 1
    return Batch(x, Cond(), torch.arange(n), second)


class Affine(nn.Module):
    """x to scale * x + shift."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def test_maps_that_undo_each_other_have_no_cycle_loss() -> None:
    """And only they: a shift of the way back is charged both ways; catches a cycle that is closed once."""
    a, b = torch.randn(5, 1, 8, 8), torch.randn(5, 1, 8, 8)
    there, inverse = Affine(2.0, 0.5), Affine(0.5, -0.25)
    exact = Translators(there, inverse)
    assert float(exact.cycle(a, b, there(a), inverse(b))) == pytest.approx(0, abs=1e-6)
    off = Affine(0.5, -0.15)
    found = Translators(there, off).cycle(a, b, there(a), off(b))
    assert float(found) == pytest.approx(0.1 + 0.2, abs=1e-5)


def test_images_of_the_domain_stay_as_they_are() -> None:
    """The identity term translates each domain's images with the translator into it, and no other."""
    a, b = torch.ones(3, 1, 8, 8), 3 * torch.ones(3, 1, 8, 8)
    found = Translators(Affine(1.0, 0.5), Affine(2.0, 0.0)).identity(a, b)
    assert float(found) == pytest.approx(0.5 + 1.0)


class Constant(nn.Module):
    """Scores that are what the images' mean says."""

    def forward(self, x: Tensor, cond: Any = None) -> Tensor:
        return x.mean((1, 2, 3))[:, None, None, None]


def replaced(recipe: CycleGAN, there: float, back: float) -> CycleGAN:
    recipe.translators = Translators(Affine(0.0, there), Affine(0.0, back))
    recipe.critic_a = recipe.critic_b = Constant()  # type: ignore[assignment]
    return recipe


def test_what_critics_say_of_made_images_is_squared() -> None:
    """E26: the made image's term is a square, so no score makes the loss negative; catches it unsquared."""
    recipe = replaced(build("model.pool=0"), there=-3.0, back=-2.0)
    a, b = torch.full((4, 1, 8, 8), 0.4), torch.full((4, 1, 8, 8), 0.7)
    pair = Batch(b, Cond(), torch.arange(4), a)
    found = float(recipe.critic_phase(pair, context()).loss)
    assert found == pytest.approx(((0.4 - 1) ** 2 + (-2.0) ** 2 + (0.7 - 1) ** 2 + (-3.0) ** 2) / 2, rel=1e-5)
    for made in (-5.0, -1.0, 0.0, 2.0):
        assert float(replaced(build("model.pool=0"), made, made).critic_phase(pair, context()).loss) >= 0


def test_the_translators_loss_is_the_papers() -> None:
    """Each term by hand: (D - 1)^2 without a half, 10 times the cycle, 5 times the identity."""
    recipe = replaced(build(), there=0.2, back=-0.3)
    a, b = torch.full((4, 1, 8, 8), 0.4), torch.full((4, 1, 8, 8), 0.7)
    pair = Batch(b, Cond(), torch.arange(4), a)
    game = (0.2 - 1) ** 2 + (-0.3 - 1) ** 2
    cycle = abs(-0.3 - 0.4) + abs(0.2 - 0.7)
    identity = abs(0.2 - 0.7) + abs(-0.3 - 0.4)
    found = recipe.generator_phase(pair, context())
    assert float(found.loss) == pytest.approx(game + 10 * cycle + 5 * identity, rel=1e-5)
    without = replaced(build("model.identity=0"), there=0.2, back=-0.3).generator_phase(pair, context())
    assert float(without.loss) == pytest.approx(game + 10 * cycle, rel=1e-5)
    assert "identity" not in without.log


def test_each_translator_begins_in_its_own_domain() -> None:
    """A is what samples are made from, B what they are compared with; catches domains changed about."""
    recipe, pair = build(), batch()
    begun: list[Tensor] = []
    for net in (recipe.translators.there, recipe.translators.back):
        net.register_forward_pre_hook(lambda module, inputs: begun.append(inputs[0]))
    real: list[Tensor] = []
    for critic in (recipe.critic_a, recipe.critic_b):
        critic.register_forward_pre_hook(lambda module, inputs: real.append(inputs[0]))
    recipe.critic_phase(pair, context())
    assert pair.second is not None
    assert torch.equal(begun[0], pair.x)  # back to A
    assert torch.equal(begun[1], pair.second)
    assert torch.equal(real[0], pair.second)  # A's critic first
    assert torch.equal(real[2], pair.x)


def test_critics_know_nothing_of_the_image_that_was_translated() -> None:
    """E26: the game is unconditional; catches a critic that is shown pairs."""
    recipe, pair = build("model.pool=0"), batch()
    seen: list[int] = []
    for critic in (recipe.critic_a, recipe.critic_b):
        critic.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs)))
        assert critic.net[0].in_channels == 1
    recipe.critic_phase(pair, context())
    recipe.generator_phase(pair, context())
    assert set(seen) == {1}
    assert len(seen) == 6


# -- the pool


def numbered(start: int, n: int) -> Tensor:
    return torch.arange(start, start + n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 2, 2).clone()


def test_a_pool_shows_its_first_images_as_they_are() -> None:
    pool, rng = Pool(50, (1, 2, 2)), generator(0, "pool")
    for k in range(50):
        shown, where = pool.draw(numbered(k, 1), rng)
        assert torch.equal(shown, numbered(k, 1))
        pool.keep(numbered(k, 1), where)
    assert torch.equal(pool.images, numbered(0, 50))


def test_a_full_pool_swaps_half() -> None:
    """One at a time as in the paper; catches a pool that keeps what it shows, or shows what it has lost."""
    pool, rng = Pool(50, (1, 2, 2)), generator(0, "pool")
    pool.keep(numbered(0, 50), torch.full((50,), 50))
    swapped = 0
    for k in range(50, 2050):
        held = set(pool.images[:, 0, 0, 0].tolist())
        shown, where = pool.draw(numbered(k, 1), rng)
        pool.keep(numbered(k, 1), where)
        now, told = set(pool.images[:, 0, 0, 0].tolist()), float(shown[0, 0, 0, 0])
        if told == k:
            assert now == held
        else:
            swapped += 1
            assert told in held
            assert now == held - {told} | {float(k)}
    assert abs(swapped / 2000 - 0.5) < 4 * (0.25 / 2000) ** 0.5


@pytest.mark.parametrize(("size", "n"), [(50, 8), (50, 64), (3, 64), (64, 64)])
def test_a_batch_loses_and_doubles_no_image(size: int, n: int) -> None:
    """What was made is either shown or kept, whatever the sizes; catches two images in one place."""
    pool, rng = Pool(size, (1, 2, 2)), generator(0, "pool")
    for turn in range(20):
        before = pool.images[: int(pool.count), 0, 0, 0].tolist()
        new = numbered(n * turn + 1, n)
        shown, where = pool.draw(new, rng)
        pool.keep(new, where)
        after = pool.images[: int(pool.count), 0, 0, 0].tolist()
        made = new[:, 0, 0, 0].tolist()
        if len(before) == size:
            assert sorted(before + made) == sorted(after + shown[:, 0, 0, 0].tolist())
        else:
            assert torch.equal(shown, new)
            assert after == (before + made)[:size]


def test_a_pool_of_none_shows_what_is_new() -> None:
    pool = Pool(0, (1, 2, 2))
    shown, where = pool.draw(numbered(3, 4), generator(0, "pool"))
    pool.keep(numbered(3, 4), where)
    assert torch.equal(shown, numbered(3, 4))


def test_drawing_from_a_pool_changes_nothing() -> None:
    """A loss is pure: catches a pool that is written while a loss is computed."""
    pool = Pool(4, (1, 2, 2))
    pool.keep(numbered(0, 4), torch.full((4,), 4))
    first, second = (pool.draw(numbered(10, 6), generator(0, "pool")) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(pool.images, numbered(0, 4))


def test_several_processes_keep_one_pool() -> None:
    """Images for one place: the later stays, on every process; those that come when it is full go."""
    pool = Pool(3, (1, 2, 2))
    pool.keep(numbered(0, 4), torch.tensor([3, 3, 3, 3]))
    assert pool.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    pool.keep(numbered(10, 4), torch.tensor([1, -1, 1, 0]))
    assert pool.images[:, 0, 0, 0].tolist() == [13, 12, 2]
    assert int(pool.count) == 3


# -- training


def test_a_resume_has_the_same_pool(tmp_path: Any) -> None:
    """Stopped when the pool is full and used; catches images that are kept in a list."""
    from zoo_core.training import checkpoint
    from zoo_core.training.harness import Listener

    data = load_digits(DataConfig()).for_task("unpaired", "lowres")

    def harness(listener: Listener | None = None) -> Harness:
        config = TrainConfig(steps=12, batch_size=8, checkpoint_every=1)
        stream = TrainData(data.training, data.info, 0)  # type: ignore[arg-type]
        return Harness(build("model.pool=20", info=data.info), config, stream, listener=listener)

    def save(step: int, kept: Any) -> None:
        if step == 7:
            checkpoint.save(tmp_path, step, kept, {})

    whole = harness(Listener(save=save))
    whole.run()
    found = checkpoint.latest(tmp_path, lambda line: None)
    assert found is not None
    again = harness()
    again.restore(found[1])
    assert int(again.recipe.pool_b.count) == 20  # type: ignore[union-attr, arg-type]
    again.run()
    for name, value in whole.recipe.state_dict().items():
        assert torch.equal(value, again.recipe.state_dict()[name]), name


def test_each_phase_moves_its_own_networks() -> None:
    recipe, pair = build(), batch()
    recipe.critic_phase(pair, context()).loss.backward()
    assert all(p.grad is None for p in recipe.translators.parameters())
    assert all(
        p.grad is not None for critic in (recipe.critic_a, recipe.critic_b) for p in critic.parameters()
    )
    recipe.zero_grad(set_to_none=True)
    recipe.generator_phase(pair, context()).loss.backward()
    assert all(p.grad is not None for p in recipe.translators.parameters())


def test_what_stands_beside_a_image_does_not_matter() -> None:
    """Without a pool the loss of a batch is that of its two sets; catches a loss of pairs."""
    pair = batch()
    assert pair.second is not None
    turned = Batch(pair.x, pair.cond, pair.index, pair.second.flip(0))
    words = ("model.pool=0", "model.norm=instance")
    for phase in ("critic_phase", "generator_phase"):
        recipe = build(*words)
        first, second = (getattr(recipe, phase)(one, context()).loss for one in (pair, turned))
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_domains_of_other_channels_have_no_identity() -> None:
    info = DataInfo("gray to color", (3, 16, 16), 256, image_channels=1, task="unpaired")
    recipe, pair = build(info=info), batch(4, info)
    assert "identity" not in recipe.generator_phase(pair, context()).log
    recipe.critic_phase(pair, context())
    assert recipe.translators.there(pair.second).shape == (4, 3, 16, 16)
    assert recipe.translators.back(pair.x).shape == (4, 1, 16, 16)
    assert isinstance(recipe, TwoWay)


def test_the_papers_translator() -> None:
    """Zhu et al. 2017, appendix 7.2: c7s1-64, d128, d256, nine R256, u128, u64, c7s1-3."""
    recipe = build(
        "preset=paper", info=DataInfo("big", (3, 256, 256), 256, image_channels=3, task="unpaired")
    )
    layers = [m for m in recipe.translators.there.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    widths = [m.out_channels for m in layers]
    assert widths == [64, 128, 256, *[256] * 18, 128, 64, 3]
    assert [m.kernel_size[0] for m in layers] == [7, *[3] * 22, 7]
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in recipe.translators.there.modules()) == 23


def test_sides_that_do_not_fit_are_told() -> None:
    with pytest.raises(UsageError, match="does not fit images of 8x8"):
        build("model.halvings=3")
    with pytest.raises(UsageError, match="leaves no patch"):
        build("model.patch_layers=2")
