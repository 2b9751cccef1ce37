"""The forward process: exact facts of Ho's chain."""

from __future__ import annotations

import pytest
import torch

from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.sdes import VP
from zoo_core.errors import UsageError


@pytest.mark.parametrize(
    ("steps", "last", "expected"), [(1000, 0.02, 4.0358e-5), (2000, 0.01, 3.9712e-5)], ids=["ho", "lecture"]
)
def test_what_is_left_of_the_signal(steps, last, expected):
    """Catches a schedule that is off by one, squared, or of the square root's kind."""
    schedule = DiscreteVP(linear_betas(steps, last=last))
    assert float(schedule.alpha_bar[-1]) == pytest.approx(expected, rel=2e-5)


def test_chain_of_kernels():
    """Catches beta where sqrt(beta) belongs (E1) and dependent noises (E6): variances add up step by step."""
    schedule = DiscreteVP(linear_betas(1000))
    t = torch.arange(1, 1001)
    kept = schedule.alpha(t) / schedule.alpha(t - 1)
    added = schedule.sigma(t) ** 2 - kept**2 * schedule.sigma(t - 1) ** 2
    torch.testing.assert_close(added, linear_betas(1000), rtol=0, atol=1e-14)
    torch.testing.assert_close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(1000).double())


def test_diffusers_agrees():
    """Catches a cumulative product that starts at the wrong beta."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler().alphas_cumprod.double()
    ours = DiscreteVP(linear_betas(1000)).alpha_bar[1:]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_finds_its_time(dtype):
    """Catches a clock that is shifted by one, or that loses neighbors apart in float32."""
    schedule = DiscreteVP(linear_betas(1000))
    assert schedule.t_of(schedule.levels.to(dtype)).tolist() == list(range(1, 1001))
    assert int(schedule.t_of(schedule.levels[499].to(dtype))) == 500
    torch.testing.assert_close(schedule.alpha_of(schedule.levels), schedule.alpha(torch.arange(1, 1001)))


def test_between_levels_the_nearer_in_log_wins():
    """Catches rounding in sigma, or always down: the network must see the nearer trained time."""
    schedule = DiscreteVP(linear_betas(1000))
    low, high = schedule.levels[2:4]
    middle = (low * high).sqrt()
    assert schedule.t_of(torch.stack((middle * 0.999, middle * 1.001))).tolist() == [3, 4]
    assert schedule.t_of(torch.tensor([1e-9, 1e9])).tolist() == [1, 1000]


@pytest.mark.parametrize("betas", [[], [0.1, 1.0], [0.0], [0.1, float("nan")]])
def test_impossible_betas(betas):
    """Catches a chain that would hold an infinity or a NaN."""
    with pytest.raises(UsageError, match="betas"):
        DiscreteVP(torch.tensor(betas))


def test_tables_are_not_trained_or_saved():
    """Catches a schedule that EMA, an optimizer or a checkpoint would take hold of."""
    schedule = DiscreteVP(linear_betas(10))
    assert not schedule.state_dict()
    assert not list(schedule.parameters())


@pytest.mark.parametrize(
    "make", [lambda: DiscreteVP(torch.full((100_000,), 0.02)), lambda: VP(0.1, 2000.0)], ids=["chain", "vp"]
)
def test_a_schedule_that_leaves_no_signal_is_refused(make):
    """Catches a run that trains to its end and then draws infinities."""
    with pytest.raises(UsageError, match="no signal"):
        make()
