"""Views of a image: turned by the right angle the right way, recolored within its levels, near itself."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data.digits import load
from zoo_core.data.loading import Resident, TrainData
from zoo_core.data.transforms import TwoViews
from zoo_core.data.views import FADE, PLAIN, numbers, turned, view
from zoo_core.machine.distributed import World
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

INFO = DataInfo("images", (3, 6, 6), 256, task="views")


def images(n: int, channels: int = 3, height: int = 6, width: int = 6) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, channels, height, width), generator=generator(0, "images"), dtype=torch.uint8
    )


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_are_torchs(quarters: int) -> None:
    """By torch.rot90; catches a turn the other way, about a corner, or in units of half a side."""
    x = images(4)
    angle = torch.full((4,), quarters * math.pi / 2)
    torch.testing.assert_close(turned(x, angle), torch.rot90(x, quarters, (2, 3)).float(), atol=0.02, rtol=0)


def test_a_image_that_is_no_square_keeps_its_shape() -> None:
    """A point (x, y) from the center goes to (x cos - y sin, x sin + y cos), y upwards; catches a shear."""
    x = torch.zeros(1, 1, 41, 81)
    x[0, 0, 20, 40 + 16] = 1  # 16 to the right of the center
    made = turned(x, torch.tensor([math.radians(30)]))[0, 0]
    rows, columns = torch.arange(41.0)[:, None], torch.arange(81.0)[None]
    across = float((made * columns).sum() / made.sum()) - 40
    up = 20 - float((made * rows).sum() / made.sum())
    assert across == pytest.approx(16 * math.cos(math.radians(30)), abs=0.3)
    assert up == pytest.approx(16 * math.sin(math.radians(30)), abs=0.3)


def test_half_of_the_views_are_the_image_itself() -> None:
    x = images(2000)
    made = view(x, torch.rand(2000, numbers(3), generator=generator(1, "views")))
    same = (made == x).flatten(1).all(1).double().mean()
    assert float(same) == pytest.approx(PLAIN, abs=4.5 * (0.25 / 2000) ** 0.5)
    assert made.dtype == torch.uint8
    assert made.shape == x.shape


def test_recoloring_scales_each_channel_by_itself_and_never_brightens() -> None:
    """On flat images, which turning leaves alone; catches levels that overflow, and one gain for all."""
    x = torch.full((500, 3, 6, 6), 200, dtype=torch.uint8)
    made = view(x, torch.rand(500, numbers(3), generator=generator(2, "views"))).float()
    assert float((made.amax((2, 3)) - made.amin((2, 3))).max()) == 0
    gain = made[..., 0, 0] / 200
    moved = gain[(gain < 1).any(1)]
    assert float(moved.min()) >= FADE - 1 / 200
    assert float(gain.max()) == 1
    assert float((moved[:, 0] - moved[:, 1]).abs().max()) > 0.1


def test_a_couple_is_two_views_of_one_image() -> None:
    """Flat images of a level each: both views tell which they are of. Catches pairs of unrelated images."""
    levels = torch.arange(8).mul(36).to(torch.uint8)
    data = TrainData(Resident(levels.view(8, 1, 1, 1).expand(8, 1, 6, 6).clone()).then(TwoViews()), INFO, 0)
    b = data.next(64)
    assert b.second is not None
    top = (levels[b.index].float() / 255 * 2 - 1).view(-1, 1, 1, 1)
    for x in (b.x, b.second):
        dark = (x + 1) / (top + 1).clamp_min(1e-6)
        assert bool((((dark > FADE - 0.05) & (dark < 1 + 1e-5)) | (top == -1)).all())
    assert float((b.x - b.second).abs().max()) > 0


def test_views_are_drawn_anew_and_repeat_with_the_seed() -> None:
    split = Resident(images(8)).then(TwoViews())
    first, again = (TrainData(split, INFO, 0) for _ in range(2))
    batches = [first.next(8) for _ in range(2)]
    for one in batches:
        same = again.next(8)
        assert torch.equal(one.x, same.x)
        assert torch.equal(one.second, same.second)
    by_row = [b.x[b.index.argsort()] for b in batches]
    assert not torch.equal(*by_row)


def test_several_processes_share_one_batch_of_pairs() -> None:
    """Catches views that depend on how many processes there are."""
    split = Resident(images(8)).then(TwoViews())
    whole = TrainData(split, INFO, 0).next(8)
    parts = [TrainData(split, INFO, 0).next(8, World(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
    assert torch.equal(torch.cat([part.second for part in parts]), whole.second)


def test_a_run_learns_from_views_and_is_compared_with_images() -> None:
    """Catches scores beside the views themselves, which would move with every draw."""
    data = load(DataConfig())
    assert "views" in data.tasks
    prepared = data.for_task("views")
    assert prepared.train is data.train
    rows = torch.arange(20)
    assert torch.equal(prepared.training.examples(rows), data.train.examples(rows))
    assert prepared.training.label is data.train.label
    assert TrainData(prepared.training, prepared.info, 0).next(4).second is not None
    assert TrainData(prepared.train, prepared.info, 0).next(4).second is None
