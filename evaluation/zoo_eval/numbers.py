"""Numbers as text, for tables and summaries."""

from __future__ import annotations

LIKELIHOODS = ("bits_per_dim", "bits_per_token", "nats")
"""Base names of the columns of likelihoods."""


def number(value: float) -> str:
    """Return a value in at most 8 characters: three significant digits, two decimals from 10 on."""
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.3g}"
    return f"{value:.2f}" if 10 <= abs(value) < 1e4 else f"{value:.1e}"


def short_seconds(seconds: float) -> str:
    """Return a duration with three significant digits: 1.23s, 12m, 3h."""
    if seconds < 100:
        return f"{seconds:.3g}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.0f}h"
