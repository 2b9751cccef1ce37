"""The coefficients around a network of x0 + sigma eps that keep its input and target at unit variance.

Karras, Aittala, Aila and Laine 2022, arXiv:2206.00364, Eq. 7, table 1 and appendix B.6:
D(x; sigma) = c_skip x + c_out F(c_in x).
"""

from __future__ import annotations

from torch import Tensor


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return c_skip, c_out and c_in (table 1, column "Ours"), each like sigma.

    Args:
        sigma: levels, above 0.
        sigma_data: standard deviation of the data.
    """
    both = sigma**2 + sigma_data**2
    return sigma_data**2 / both, sigma * sigma_data * both.rsqrt(), both.rsqrt()


def weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2, like sigma."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
