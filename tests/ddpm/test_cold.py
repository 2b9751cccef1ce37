"""Cold diffusion: degradations in closed form, the two sampling rules, the law of the start."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.making import batch, context, made_of
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Cond, DataInfo, SampleRequest
from zoo_ddpm.cold import RULES, Cold, ColdConfig, restore
from zoo_ddpm.degradations import blur, blurs, pixelate

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)


def recipe(data=DIGITS, **options):
    return made_of(Cold, ColdConfig, data, **options).eval()


def images(n, shape=(1, 8, 8), seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Split:
    """A training split in memory, as far as a fit reads it."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def batch(self, rows):
        return Batch(self.x[rows], Cond(), rows)


# -- degradations


def test_blurs_are_those_of_the_heat_equation():
    """Rows add up to 1, an impulse has the variance that is said, and blurs add up."""
    found = blurs(65, 5, 0.05)
    torch.testing.assert_close(found[0], torch.eye(65).double())
    torch.testing.assert_close(found.sum(2), torch.ones(6, 65).double())
    std = torch.logspace(math.log10(0.3), math.log10(0.05 * 65), 5).double()
    place = torch.arange(65).double() - 32
    torch.testing.assert_close((found[1:, 32] * place.square()).sum(1), std.square(), rtol=1e-4, atol=1e-4)
    whole = blurs(9, 2, 0.3)[-1]
    torch.testing.assert_close(blurs(9, 2, 0.3 / math.sqrt(2))[-1].matrix_power(2), whole)


def test_pixelation_ends_in_means_of_blocks():
    x = images(3, (3, 8, 12))
    degrade = pixelate((3, 8, 12), 8, 0.0, 4)
    torch.testing.assert_close(degrade(x, 0), x)
    for s, size in ((4, 2), (8, 4)):
        means = F.avg_pool2d(x, size)
        torch.testing.assert_close(degrade(x, s), F.interpolate(means, scale_factor=size))
    between = degrade(x, torch.tensor([4, 5, 8]))
    torch.testing.assert_close(between[1:2], degrade(x[1:2], 5))
    assert float((between[1] - degrade(x, 4)[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("make", [blur, pixelate])
def test_what_is_kept_is_the_fully_degraded_image(make):
    degrade = make((3, 8, 8), 6, 0.4, 4)
    last = degrade(images(5, (3, 8, 8)), 6)
    kept = degrade.kept(last)
    assert kept.shape[1] < 3 * 64 / 3
    torch.testing.assert_close(degrade.image(kept, 3), last, rtol=0, atol=3e-3)


@pytest.mark.parametrize("make", [blur, pixelate])
def test_each_step_loses_variance(make):
    degrade, x = make((1, 8, 8), 6, 0.4, 4), images(50)
    spread = [float(degrade(x, s).var((2, 3)).mean()) for s in range(7)]
    assert all(a > b for a, b in itertools.pairwise(spread))
    torch.testing.assert_close(degrade(x, 6).mean((2, 3)), x.mean((2, 3)))


# -- the rules

TIMES = list(range(6, -1, -1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [blur, pixelate])
def test_both_rules_are_exact_where_the_network_is(make, rule):
    x0 = images(4)
    degrade = make((1, 8, 8), 6, 0.4, 4)
    found = restore(degrade, lambda x, s: x0, degrade(x0, 6), TIMES, RULES[rule])
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-5)


def test_the_improved_rule_is_exact_for_any_network_where_the_degradation_is_affine():
    """D(x, s) = x + s e, section 3.2. The naive rule ends in what the network says, right or wrong."""
    x0, e = images(4), images(4, seed=1)

    def degrade(x, s):
        return x + s * e

    def wrong(x, s):
        return torch.sin(3 * x) + s

    found = restore(degrade, wrong, degrade(x0, 6), TIMES, RULES["improved"])
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-5)
    naive = restore(degrade, wrong, degrade(x0, 6), TIMES, RULES["naive"])
    assert float((naive - x0).abs().mean()) > 0.1


def test_a_constant_error_of_the_network_is_left_out_as_far_as_it_survives_the_degradation():
    """An error d at every step leaves d - D(d, T) with the improved rule, and all of d with the naive one."""
    x0, d, degrade = images(4), 0.3 + 0.2 * images(4, seed=1), blur((1, 8, 8), 6, 0.4, 4)
    found = {
        name: restore(degrade, lambda x, s: x0 + d, degrade(x0, 6), TIMES, rule) - x0
        for name, rule in RULES.items()
    }
    torch.testing.assert_close(found["naive"], d, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["improved"], d - degrade(d, 6), rtol=0, atol=1e-5)
    assert float(found["improved"].square().mean()) < 0.5 * float(d.square().mean())


# -- the recipe


def test_the_start_has_the_moments_of_degraded_training_images():
    """Of 20,000 starts; catches a factor that is transposed, and a variance for its root."""
    made = recipe(**{"sample.noise": 0.0})
    x = torch.einsum("nj,jk->nk", images(500).flatten(1), torch.linspace(-0.2, 0.2, 4096).view(64, 64))
    x = (x + 0.1).view(-1, 1, 8, 8)
    made.fit(Split(x))
    last = made.degrade(x, 8).flatten(1).double()
    found = made.start(SampleRequest(Seeds(0, range(20_000)))).flatten(1).double()
    scale = float(last.std(0).max())
    torch.testing.assert_close(found.mean(0), last.mean(0), rtol=0, atol=0.04 * scale)
    torch.testing.assert_close(torch.cov(found.T), torch.cov(last.T), rtol=0, atol=0.06 * scale**2)


def test_noise_is_added_to_the_start():
    request = SampleRequest(Seeds(0, range(500)))
    difference = recipe(**{"sample.noise": 0.1}).start(request) - recipe(**{"sample.noise": 0.0}).start(
        SampleRequest(Seeds(0, range(500)))
    )
    assert float(difference.std()) == pytest.approx(0.1, rel=0.03)


class Spy(nn.Module):
    """Adds nothing to its input, and keeps the steps that it is told."""

    def forward(self, x, t, cond=None):
        self.t = t
        return torch.zeros_like(x)


def test_the_loss_is_the_absolute_error_at_every_step():
    made, x = recipe(), images(1).expand(8000, -1, -1, -1)
    made.net = spy = Spy()
    found = made.loss(batch(x), context())
    assert set(spy.t.tolist()) == set(range(1, 9))
    each = torch.stack([(made.degrade(x[:1], s) - x[:1]).abs().mean() for s in range(1, 9)])
    assert float(found.loss) == pytest.approx(float(each.mean()), abs=4.5 * float(each.std()) / 8000**0.5)


@pytest.mark.parametrize(
    "option",
    [
        {"sample.rule": "naive"},
        {"sample.noise": 0.3},
        {"model.degradation": "pixelate"},
        {"model.blur_end": 0.2},
        {"model.T": 4},
        {"model.clip_x0": False},
        {"sample.steps": 3},
    ],
    ids=str,
)
def test_options_change_samples(option):
    def drawn(**options):
        made = recipe(**options)
        made.start_mean.fill_(0.5)
        with torch.no_grad():
            for parameter in made.net.parameters():
                parameter.add_(0.02)
            return made.sample(SampleRequest(Seeds(0, range(3)), steps=made.config.sample.steps))

    plain, other = drawn(), drawn(**option)
    assert plain.x.shape == (3, 1, 8, 8)
    assert bool(torch.isfinite(other.x).all())
    assert float((plain.x - other.x).abs().max()) > 1e-3
    assert (plain.calls, other.calls) == (8, option.get("sample.steps", option.get("model.T", 8)))


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (DataInfo("moons", (2,), levels=None), {}, "degrades images"),
        (DataInfo("odd", (1, 6, 8), levels=17), {"model.degradation": "pixelate"}, "do not fit"),
        (DIGITS, {"model.degradation": "pixelate", "model.block": 3}, "do not fit"),
        (DataInfo("large", (3, 64, 64), levels=256), {"model.degradation": "pixelate"}, "leaves 768 values"),
        (DIGITS, {"sample.steps": 9}, "of 8 steps"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(data, options, said):
    with pytest.raises(UsageError, match=said):
        recipe(data, **options)


def test_the_block_determines_what_is_kept():
    counts = [
        recipe(**{"model.degradation": "pixelate", "model.block": size}).start_mean.numel() for size in (2, 8)
    ]
    assert counts == [16, 1]
