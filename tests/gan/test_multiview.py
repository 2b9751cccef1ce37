"""The multi-view model: pairs of one content, evaluated in both orders, sampled one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.making import context
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build, load_data
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, DataInfo, SampleRequest
from zoo_gan.multiview_gan import CoupleCritic, MultiView

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10, task="views")


def built(*words: str, data: DataInfo = DIGITS) -> MultiView:
    config: Any = resolve(["plugin=multiview-gan", "preset=tiny", *words])
    torch.manual_seed(0)
    return MultiView(config, data)


def pairs(n: int, channels: int = 1) -> Tensor:
    return 2 * torch.rand(n, 2 * channels, 8, 8, generator=generator(1, "x")) - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_a_couple_and_its_swap_have_one_score(channels: int, training: bool) -> None:
    """Catches a critic that learns which view comes first, and colors that are swapped with the images."""
    words = ("model.critic_norm=batch", "model.spectral_norm=false")  # nothing moves from call to call
    data = DataInfo("any", (channels, 8, 8), 256, task="views")
    critic = built(*words, data=data).critic.train(training)
    x = pairs(12, channels)
    with torch.no_grad():
        scores, swapped = critic(x), critic(x.roll(channels, dims=1))
    torch.testing.assert_close(scores, swapped)
    assert len(scores.unique()) == 12


def test_the_score_is_the_mean_of_both_orders() -> None:
    """By a network that looks at the first image alone."""

    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0].mean((1, 2))

    x = pairs(5)
    torch.testing.assert_close(CoupleCritic(First())(x), x.mean((1, 2, 3)))


def test_a_generated_couple_has_one_content_and_two_views() -> None:
    """Catches two contents, which makes pairs of nothing, and one view, which makes copies."""
    recipe = built()
    fed: list[Tensor] = []
    recipe.generator.register_forward_pre_hook(lambda module, args: fed.append(args[0]))
    made = recipe.generated(6, None, context())
    assert tuple(made.shape) == (6, 2, 8, 8)
    content, view = fed[0].split([8, 3], 1)
    assert torch.equal(content[:6], content[6:])
    assert not bool((view[:6] == view[6:]).any())
    recipe.eval()  # batch norm: each image by itself
    with torch.no_grad():
        again = recipe.generated(6, None, context())
        for k, z in enumerate(fed[0].split(6)):
            torch.testing.assert_close(again[:, k : k + 1], recipe.generator(z))


def test_one_view_twice_is_a_image_twice() -> None:
    """Same c, same v, same image: what differs within a couple comes from the view alone."""
    recipe = built().eval()
    z = torch.randn(3, 11, generator=generator(0, "z"))
    request = SampleRequest(Seeds(0, range(3)))
    other = torch.cat((z[:, :8], z[:, 8:].flip(0)), 1)
    with torch.no_grad():
        first, same, changed = (recipe.from_latents(part, request) for part in (z, z.clone(), other))
    assert torch.equal(first, same)
    assert float((first - changed).abs().max()) > 0
    assert recipe.content_dim == 8
    assert recipe.latent_shape == (11,)


def test_real_pairs_are_the_two_views_of_the_batch() -> None:
    x, y = pairs(4).chunk(2, 1)
    b = Batch(x, Cond(), torch.arange(4), y)
    seen: list[Tensor] = []
    recipe = built()
    recipe.critic.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    recipe.critic_phase(b, context())
    assert torch.equal(seen[0], torch.cat((x, y), 1))
    assert seen[1].shape == seen[0].shape


def test_samples_are_single_images() -> None:
    with torch.no_grad():
        drawn = built().eval().sample(SampleRequest(Seeds(0, range(3))))
    assert tuple(drawn.x.shape) == (3, 1, 8, 8)


def test_points_have_no_views(tmp_path: Any) -> None:
    """Catches a crash deep in a network; the message names data that can serve the task."""
    from zoo_core.registry.manager import manager

    config = resolve(["plugin=multiview-gan", "data=ring", "device=cpu"])
    with pytest.raises(UsageError, match="views") as error:
        build(config, load_data(config), tmp_path, manager(), say=print, warn=print)
    assert "digits" in str(error.value)
