"""The sub-variance-preserving SDE.

Song et al. 2021, arXiv:2011.13456, Eq. 12: the mean of the variance-preserving SDE, and a variance that is
never above its own: g^2 = beta (1 - exp(-2 B)), B the integral of beta. Its likelihoods are the paper's best.
"""

from __future__ import annotations

from zoo_core.diffusion.sdes import SubVP
from zoo_sde.vp_sde import VPSDE, VPSDEConfig


class SubVPSDEConfig(VPSDEConfig):
    """One run of the sub-variance-preserving SDE; options and presets are the preserving one's."""


class SubVPSDE(VPSDE):
    """A score model of the sub-variance-preserving SDE."""

    sde = SubVP
