"""Pix2Pix: whose difference is penalized, what a score sees, where its noise comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.making import context
from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import TrainData
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, DataInfo, SampleRequest
from zoo_gan.patches import PatchCritic, TranslationModel
from zoo_gan.pix2pix import Pix2Pix, Pix2PixConfig, reconstruction
from zoo_gan.translators import UNet, UNetModel, halvings

INFO = DataInfo("pairs", (1, 8, 8), 17, image_channels=1, task="paired")


def build(*words: str, info: DataInfo = INFO) -> Pix2Pix:
    torch.manual_seed(0)
    preset = [] if any(word.startswith("preset=") for word in words) else ["preset=tiny"]
    config = resolve(["plugin=pix2pix", *preset, *words])
    assert isinstance(config, Pix2PixConfig)
    return Pix2Pix(config, info)


def batch(n: int = 8, info: DataInfo = INFO) -> Batch:
    rng = generator(1, "batch")
    channels, *size = info.shape
    x = 2 * torch.rand(n, channels, *size, generator=rng) - 1
    source = 2 * torch.rand(n, info.image_channels, *size, generator=rng) - 1
    return Batch(x, Cond(image=source), torch.arange(n))


def test_l1_is_to_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """E25: a translator that returns the target has none, whatever the source; catches L1 to the source."""
    recipe, pair = build(), batch()

    def perfect(source: Tensor, uniforms: Any) -> Tensor:
        return pair.x

    def copies(source: Tensor, uniforms: Any) -> Tensor:
        return source

    monkeypatch.setattr(recipe.generator, "forward", perfect)
    assert float(recipe.generator_phase(pair, context()).log["l1"]) == 0.0
    monkeypatch.setattr(recipe.generator, "forward", copies)
    assert pair.cond.image is not None
    expected = float((pair.cond.image - pair.x).abs().mean())
    assert float(recipe.generator_phase(pair, context()).log["l1"]) == pytest.approx(expected)


def test_the_loss_is_the_game_and_a_hundred_times_l1() -> None:
    """Against the formula; catches a weight on the wrong term, and a game without its condition."""
    recipe, pair = build("model.dropout=0"), batch()
    found = recipe.generator_phase(pair, context())
    made = recipe.made(pair, context())
    score = recipe.critic(made, pair.cond)
    game = -torch.log(torch.sigmoid(score)).mean()
    torch.testing.assert_close(found.loss, game + 100 * (made - pair.x).abs().mean())
    real = recipe.critic(pair.x, pair.cond)
    expected = -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(score)).log().mean()) / 2
    torch.testing.assert_close(recipe.critic_phase(pair, context()).loss, expected)


def test_with_nothing_but_l1_the_best_answer_is_the_conditional_median() -> None:
    """Of three targets for one source the middle one, at each value; catches a squared difference."""
    targets = torch.tensor([-0.8, 0.1, 0.3])[:, None]
    grid = torch.linspace(-1, 1, 201)
    losses = torch.stack([reconstruction(g.expand(3, 1), targets) for g in grid])
    assert float(grid[losses.argmin()]) == pytest.approx(0.1, abs=0.011)


def test_the_critic_sees_the_source() -> None:
    """Catches a critic of images alone: with other sources its scores must change, real or made."""
    recipe, pair = build(), batch()
    recipe.critic.eval()
    other = Cond(image=pair.cond.image.flip(0))  # type: ignore[union-attr]
    assert not torch.allclose(recipe.critic(pair.x, pair.cond), recipe.critic(pair.x, other))


def field(critic: PatchCritic, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (height and width of what the middle score sees, and of the map), by the gradient."""
    x = torch.zeros(1, 1, side, side, requires_grad=True)
    torch.nn.init.constant_(x, 0.5)
    scores = critic(x)
    middle = tuple(length // 2 for length in scores.shape[2:])
    scores[0, 0, middle[0], middle[1]].backward()
    assert x.grad is not None
    seen = x.grad[0, 0] != 0
    return (int(seen.any(1).sum()), int(seen.any(0).sum())), tuple(scores.shape[2:])


@pytest.mark.parametrize(("layers", "pixels"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_a_score_sees_as_many_pixels_as_is_said(layers: int, pixels: int) -> None:
    """Isola et al. 2016, appendix 6.1.2; catches a stride or a layer too many, and averaged scores."""
    torch.manual_seed(0)
    model = TranslationModel(critic_width=4, patch_layers=layers, norm="none")
    critic = PatchCritic(model, 1, (256, 256))
    seen, found = field(critic, 256)
    assert seen == (pixels, pixels)
    if layers == 3:
        assert found == (30, 30)


def test_the_papers_critic_has_the_papers_channels() -> None:
    recipe = build("preset=paper", info=DataInfo("big", (3, 256, 256), 256, image_channels=3, task="paired"))
    convolutions = [m for m in recipe.critic.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.in_channels for m in convolutions] == [6, 64, 128, 256, 512]
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 1, 1]
    down = [m.out_channels for m in recipe.generator.down.modules() if isinstance(m, torch.nn.Conv2d)]
    assert down == [64, 128, 256, 512, 512, 512, 512, 512]
    up = [m.in_channels for m in recipe.generator.up.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert up == [512, 1024, 1024, 1024, 1024, 512, 256, 128]  # from its second layer on with a skip


def test_dropout_in_sampling_is_of_the_samples_own_streams() -> None:
    """Catches dropout that eval mode turns off, and a mask that the batch or torch's generator decides."""
    recipe = build().eval()
    source = batch(6).cond

    def draw(rows: slice, seed: int = 0) -> Tensor:
        torch.manual_seed(int(rows.start or 0))
        with torch.no_grad():
            return recipe.sample(SampleRequest(Seeds(seed, range(6))[rows], source[rows])).x

    whole = draw(slice(0, 6))
    assert torch.equal(whole, draw(slice(0, 6)))
    parts = torch.cat([draw(slice(0, 1)), draw(slice(1, 4)), draw(slice(4, 6))])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    assert not torch.equal(whole, draw(slice(0, 6), seed=1))


def test_dropout_keeps_the_mean() -> None:
    """Catches kept values that are not scaled up: translations of training and of the mean would differ."""
    torch.manual_seed(0)
    net = UNet(UNetModel(generator_width=4, dropout=0.25), (1, 1), (8, 8)).eval()
    seen: list[Tensor] = []
    net.up[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    x = torch.rand(1, 1, 8, 8).expand(4000, -1, -1, -1)
    rng = generator(0, "dropout")
    # only the last of the layers with dropout is looked at: all kept in those before it
    shapes: list[int] = []

    def uniforms(shape: Any) -> Tensor:
        shapes.append(shape[0])
        u = torch.rand(4000, *shape, generator=rng)
        return u if len(shapes) == 2 else torch.ones_like(u)

    with torch.no_grad():
        net(x, uniforms)
    dropped = seen[0][:, :4]
    kept = (dropped != 0).float().mean((0, 2, 3))
    assert float((kept - 0.75).abs().max()) < 0.02
    whole = UNet(UNetModel(generator_width=4, dropout=0.0), (1, 1), (8, 8)).eval()
    whole.load_state_dict(net.state_dict())
    whole.up[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        for layer in net.up[:-2]:  # those before it are given what they had: all kept, and scaled
            layer.register_forward_hook(lambda module, inputs, output: output * 0.75)
        seen.clear()
        net(x[:2], lambda shape: torch.ones(2, *shape))
        whole(x[:2], lambda shape: torch.ones(2, *shape))
    scaled, plain = (one[0, :4] for one in seen)
    torch.testing.assert_close(scaled, plain / 0.75, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "times"), [((8, 8), 3), ((28, 28), 2), ((256, 256), 8), ((12, 20), 2)])
def test_a_u_net_halves_as_often_as_sides_are_even(size: tuple[int, int], times: int) -> None:
    assert halvings(*size) == times
    if size[0] < 100:
        net = UNet(UNetModel(generator_width=4, norm="instance"), (3, 1), size)
        assert net(torch.zeros(2, 3, *size), lambda shape: torch.ones(2, *shape)).shape == (2, 1, *size)


def test_sides_that_do_not_fit_are_told() -> None:
    with pytest.raises(UsageError, match="can't be halved"):
        build(info=DataInfo("odd", (1, 7, 8), 17, image_channels=1, task="paired"))
    with pytest.raises(UsageError, match="leaves no patch") as error:
        build("model.patch_layers=2")
    assert "expected: at most 1" in str(error.value)


def test_gray_sources_of_colored_images_are_taken() -> None:
    info = DataInfo("colored", (3, 16, 16), 256, image_channels=1, task="paired")
    recipe = build(info=info)
    made = recipe.made(batch(4, info), context())
    assert made.shape == (4, 3, 16, 16)
    assert recipe.critic(made, batch(4, info).cond).shape[:2] == (4, 1)


def test_a_short_training_brings_translations_nearer_to_their_targets() -> None:
    """Held-out digits from their edges: catches losses whose signs or phases are changed about."""
    data = load_digits(DataConfig()).for_task("paired", "edges")
    recipe = build("model.generator_width=16", "optim.generator.lr=2e-3", info=data.info)

    def off() -> float:
        index = torch.arange(100)
        stream = TrainData(data.test, data.info, 0)
        held = stream.batch(index)
        with torch.no_grad():
            made = recipe.eval().sample(SampleRequest(Seeds(0, range(100)), held.cond)).x
        return float(reconstruction(made, held.x))

    before = off()
    Harness(recipe, TrainConfig(steps=60, batch_size=32), TrainData(data.train, data.info, 0)).run()
    assert off() < 0.6 * before
