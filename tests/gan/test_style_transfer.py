"""Style transfer: an encoder that does not move, losses in closed form, content and style each in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_core.errors import UsageError
from zoo_core.nn.adain import statistics
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import Run, build, load_data
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Context
from zoo_gan.style_transfer import FrozenEncoder, MirrorDecoder, StyleTransfer, content_loss, style_loss


def built(*words: str) -> Run:
    config = resolve(["plugin=style-transfer", "preset=tiny", *words])
    return build(config, load_data(config), Path(), manager(), say=print, warn=print)


def recipe_of(run: Run) -> StyleTransfer:
    assert isinstance(run.recipe, StyleTransfer)
    return run.recipe


def test_the_encoder_does_not_move() -> None:
    """Catches a batch norm in training mode, whose statistics move though its weights are frozen."""
    run = built()
    recipe = recipe_of(run)
    before = {name: value.clone() for name, value in recipe.encoder.state_dict().items()}
    assert any("running_mean" in name for name in before)
    start = [p.detach().clone() for p in recipe.decoder.parameters()]
    run.harness.run()
    for name, value in recipe.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(not p.requires_grad and p.grad is None for p in recipe.encoder.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(start, recipe.decoder.parameters(), strict=True))
    recipe.train()
    assert not any(module.training for module in recipe.encoder.modules())


def test_the_losses_closed_forms() -> None:
    maps = torch.randn(4, 3, 5, 5, generator=generator(0, "m"), dtype=torch.float64)
    assert float(content_loss(maps, maps)) == 0
    assert float(content_loss(maps + 2, maps)) == pytest.approx(4)
    assert float(style_loss([maps, maps], [maps, maps])) == 0
    shifted = style_loss([maps + 2, maps], [maps, maps + 3])
    assert float(shifted) == pytest.approx(4 + 9)  # means move, deviations do not; maps are added up
    spread = statistics(maps)[1]
    centered = maps - maps.mean((2, 3), keepdim=True)
    scaled = float(style_loss([3 * centered], [centered]))
    assert scaled == pytest.approx(4 * float(spread.square().mean()), rel=1e-4)


def test_style_does_not_know_places_and_content_does() -> None:
    """Catches a style loss on the maps themselves."""
    maps = torch.randn(4, 3, 5, 5, generator=generator(0, "m"))
    turned = maps.flip(2).transpose(2, 3)
    assert float(style_loss([turned], [maps])) == pytest.approx(0, abs=1e-10)
    assert float(content_loss(turned, maps)) > 0.5


def test_the_style_is_x_and_the_content_is_the_second() -> None:
    """Catches the two exchanged: style statistics must be those of the domain that is translated to."""
    run = built()
    recipe = recipe_of(run)
    batch = run.harness.data.next(16)
    assert batch.second is not None
    seen: dict[str, torch.Tensor] = {}
    decode = recipe.decoder.forward

    def watched(maps: torch.Tensor) -> torch.Tensor:
        seen["target"] = maps
        return decode(maps)

    recipe.decoder.forward = watched  # type: ignore[method-assign]
    loss = recipe.decoder_phase(batch, Context(0, 0.0, 0, generator(0, "c")))
    with torch.no_grad():
        wanted = statistics(recipe.encoder(batch.x)[-1])
        alive = statistics(recipe.encoder(batch.second)[-1])[1] > 0.1  # no scale moves a flat channel
    assert float(alive.float().mean()) > 0.8
    for ours, theirs in zip(statistics(seen["target"]), wanted, strict=True):
        torch.testing.assert_close(ours[alive], theirs[alive], rtol=1e-2, atol=1e-2)
    assert float(loss.loss.detach()) == pytest.approx(
        float(loss.log["content"] + 10 * loss.log["style"]), rel=1e-5
    )


def test_alpha_0_gives_the_content_whatever_the_style() -> None:
    recipe = recipe_of(built("sample.alpha=0"))
    a, b = torch.rand(2, 4, 1, 8, 8, generator=generator(0, "x")) * 2 - 1
    with torch.no_grad():
        maps = recipe.encoder(a)[-1]
        torch.testing.assert_close(recipe.stylize(a, b), recipe.decoder(maps))
        torch.testing.assert_close(recipe.stylize(a, b), recipe.stylize(a, b.flip(0)))
        whole = recipe_of(built("sample.alpha=1"))
        assert not torch.allclose(whole.stylize(a, b), whole.stylize(a, b.flip(0)))


def test_a_images_style_is_drawn_for_it_alone() -> None:
    run = built("train.steps=2")
    run.harness.run()
    recipe = recipe_of(run)
    x = torch.rand(6, 1, 8, 8, generator=generator(0, "x")) * 2 - 1
    with torch.no_grad():
        whole = recipe.translate(x, noise=Seeds(0, range(6)))
        torch.testing.assert_close(
            recipe.translate(x[4:5], noise=Seeds(0, range(4, 5))), whole[4:5], rtol=1e-4, atol=1e-5
        )
        assert not torch.allclose(recipe.translate(x, noise=Seeds(1, range(6))), whole)


def test_the_gallery_is_of_the_styles_domain() -> None:
    run = built("train.steps=1", "data.source=edges")
    run.harness.run()
    targets = run.harness.data.to_model(run.harness.data.split.examples(torch.arange(len(run.harness.data))))
    for kept in recipe_of(run).gallery:
        assert bool((targets == kept).flatten(1).all(1).any())


def test_the_decoder_mirrors_vgg() -> None:
    """The paper's decoder for relu4_1: nine convolutions, from 512 channels to 3, doubling three times."""
    timm: Any = pytest.importorskip("timm")
    net = timm.create_model("vgg19", pretrained=False, num_classes=0)
    from zoo_eval.extractors.timm_models import TimmModel

    model = TimmModel.__new__(TimmModel)
    model.net, model.name = net, "timm:vgg19"
    model.mean, model.std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    parts = model.layers((3, 32, 32))
    assert len(parts) == 5
    encoder = FrozenEncoder(parts[:4])
    x = torch.zeros(1, 3, 32, 32)
    assert [tuple(m.shape[1:]) for m in encoder(x)] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    decoder = MirrorDecoder(encoder, (3, 32, 32))
    convolutions = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    channels = [convolutions[0].in_channels, *(m.out_channels for m in convolutions)]
    assert channels == [512, 256, 256, 256, 256, 128, 128, 64, 64, 3]
    assert tuple(decoder(encoder(x)[-1]).shape) == (1, 3, 32, 32)
    gray = encoder(torch.zeros(1, 1, 32, 32))  # one channel becomes three equal ones
    torch.testing.assert_close(gray[0], encoder(x)[0])


def test_a_missing_vgg_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_eval.extractors.timm_models.cached_weights", lambda name: None)
    with pytest.raises(UsageError) as caught:
        built("model.encoder=timm:vgg19")
    assert "model.encoder_path" in str(caught.value)
    assert "eval.extractor" not in str(caught.value)
    with pytest.raises(UsageError, match="no maps"):
        built("model.encoder=raw")


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins/zoo_gan"))
def test_color_images_have_the_shipped_network_as_their_encoder() -> None:
    """Catches a default encoder that gives no maps, so that color data can't be trained on."""
    run = built("data=emoji", "train.steps=3", "train.batch_size=4", "model.gallery=4")
    recipe = recipe_of(run)
    start = [p.detach().clone() for p in recipe.decoder.parameters()]
    run.harness.run()
    assert run.step == 3
    assert any(not torch.equal(a, b) for a, b in zip(start, recipe.decoder.parameters(), strict=True))
    samples = run.sample(2)
    assert samples.shape == (2, 3, 32, 32)
    assert bool(torch.isfinite(samples).all())
