"""The page of conditions and image tasks: baselines that win, scores with intervals, models that memorize."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import CHECKOUT


@pytest.fixture(scope="module")
def tasks() -> Iterator[Any]:
    """ci/pages/tasks.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CHECKOUT / "ci"))
        from pages import tasks

        yield tasks


def row(*, memorizes: bool = False, **scores: float) -> Any:
    """Return a row of `pix2pix` from edges with scores by base name, spaces as underscores."""
    named = {f"{name.replace('_', ' ')}[edges]": (value,) for name, value in scores.items()}
    ends = {"L1[edges]": (0.09, 0.12)}
    found = {"plugin": "pix2pix", "scores": named, "within": ends, "memorizes": memorizes}
    return SimpleNamespace(**found, cost={"nfe": 1.0}, config_hash="0123456789ab")


def test_each_metric_is_compared_in_its_own_direction(tasks: Any) -> None:
    """Lower L1 and higher PSNR and SSIM are better; catches one comparison for all."""
    good = row(L1=0.1, trivial_L1=0.2, PSNR=14.0, trivial_PSNR=11.0, SSIM=0.6, trivial_SSIM=0.3)
    assert tasks.verdict([("edges", good)]).startswith("Every translator is better")
    bad = row(L1=0.1, trivial_L1=0.2, PSNR=14.0, trivial_PSNR=15.0, SSIM=0.6, trivial_SSIM=0.3)
    said = tasks.verdict([("edges", good), ("edges", bad)])
    assert "except `pix2pix` from `edges` in PSNR." in said
    worse = row(L1=0.3, trivial_L1=0.2)
    assert "in L1." in tasks.verdict([("edges", worse)])


def test_a_row_has_its_interval_and_the_trivial_score(tasks: Any) -> None:
    lines = tasks.translations([("edges", row(L1=0.1, trivial_L1=0.2))])
    assert "0.100 (0.200)" in lines[-1]
    assert tasks.cell(row(L1=0.1), "L1") == "0.100 [0.090, 0.120]"
    assert tasks.cell(row(L1=0.1), "PSNR") == "n/a"


def test_the_image_itself_is_no_baseline(tasks: Any) -> None:
    """A style transfer that copied its input would score best; catches a comparison with it."""
    (line,) = tasks.translations([("itself", row(L1=0.1, trivial_L1=0.0))])[3:]
    assert "0.100" not in line


def test_a_model_that_memorizes_is_marked(tasks: Any) -> None:
    rows = [row(FD=300.0, memorizes=True), row(FD=200.0)]
    best, worst = tasks.scores(rows, ("FD",))[3:]
    assert "200" in best
    assert "memorizes" not in best
    assert "memorizes" in worst
