"""Samples that show and save themselves, and results as Python and notebooks show them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import zoo_core
from zoo_core.errors import UsageError
from zoo_core.results.text import Shown
from zoo_core.types import DataInfo
from zoo_core.viz.samples import SampleTensor, sample_tensor

IMAGES = DataInfo("digits", (1, 8, 8), 17)


def images(n: int = 5) -> SampleTensor:
    return sample_tensor(torch.linspace(-1, 1, n * 64).reshape(n, 1, 8, 8), IMAGES)


def test_samples_compute_like_a_tensor_and_give_plain_tensors(tmp_path: Path) -> None:
    """A subclass that outlives an operation would carry a claim about data that it no longer is."""
    x = images()
    assert isinstance(x, torch.Tensor)
    for made in (
        x + 1,
        x[:2],
        x.mean(),
        torch.cat([x, x]),
        x.clone(),
        torch.stack(list(x)),
        copy.deepcopy(x),
    ):
        assert type(made) is torch.Tensor
    assert torch.equal(x, x.plain())
    assert x.plain().data_ptr() == x.data_ptr()
    np.testing.assert_array_equal(np.asarray(x), x.plain().numpy())
    assert type(pickle.loads(pickle.dumps(x))) is torch.Tensor
    torch.save(x, tmp_path / "x.pt")
    assert torch.equal(torch.load(tmp_path / "x.pt", weights_only=True), x)
    save_file({"x": x}, tmp_path / "x.safetensors")
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], x)
    layer = torch.nn.Conv2d(1, 2, 3)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_a_grid_has_the_images_in_rows(tmp_path: Path) -> None:
    x = sample_tensor(torch.stack([torch.full((1, 8, 8), v) for v in (-1.0, 1.0, 0.0)]), IMAGES)
    grid = x.grid(columns=2)
    assert isinstance(grid, Image.Image)
    cells = np.asarray(grid)
    side = cells.shape[0] // 4
    assert cells[side, side] == 0
    assert cells[side, 3 * side] == 255
    assert cells[3 * side, side] == 128
    assert x._repr_png_()[:4] == b"\x89PNG"  # type: ignore[index]
    with pytest.raises(UsageError, match="0 columns"):
        x.grid(columns=0)


def test_samples_are_written_in_each_format(tmp_path: Path) -> None:
    x = images()
    assert x.save(tmp_path / "grid.png").is_file()
    with np.load(x.save(tmp_path / "x.npz")) as numbers:
        assert numbers["samples"].shape == (5, 8, 8, 1)
    assert len(list(x.save(str(tmp_path / "folder")).iterdir())) == 5
    with pytest.raises(UsageError, match="expected: a file"):
        x.save(tmp_path / "x.jpeg")


def test_points_are_drawn_as_a_scatter_plot(tmp_path: Path) -> None:
    x = sample_tensor(torch.randn(20, 2), DataInfo("ring", (2,), None))
    assert x.grid().size[0] > 100
    many = sample_tensor(torch.randn(20, 3), DataInfo("own", (3,), None))
    assert many._repr_png_() is None
    with pytest.raises(UsageError, match="no grid"):
        many.grid()


def test_a_run_and_its_result_are_readable(home: Path) -> None:
    options: dict[str, Any] = {"track.progress": False, "track.wandb": "off", "eval.baselines": False}
    made = zoo_core.run(options, plugin="gaussian", data="digits")
    scored = made.scored
    value = scored.metrics["FD[digits]"]
    for text in (repr(made), repr(scored), str(scored)):
        assert text.startswith("gaussian on digits, seed 0\n")
        assert "FD[digits]" in text
        assert f"{value.value:.4g}" in text
        assert max(map(len, text.splitlines())) < 200
    assert made.run_dir in repr(made)
    html = made._repr_html_()
    assert "<td>FD[digits]</td>" in html
    assert 'src="data:image/png;base64,' in html
    assert "<td>FD[digits]</td>" in scored._repr_html_()
    run = zoo_core.load(made.run_dir)
    assert repr(run) == f"Run(gaussian on digits, seed 0, step {run.step:,}, {run.dir})"
    samples = run.sample(4)
    assert repr(samples).startswith("SampleTensor(digits, (4, 1, 8, 8), torch.float32, -1 to ")
    unscored = zoo_core.run({**options, "eval.protocol": "none"}, plugin="gaussian", run_dir="bare")
    assert "scores: none" in repr(unscored)


def test_html_escapes_what_a_result_says() -> None:
    """A result may come from anyone: its reasons are shown in a notebook that runs scripts."""
    html = Shown("<script>a</script>", {"b": "<i>"}, [("<u>", "1", "", "")], ["<b>"]).html()
    assert "<script" not in html
    assert "<i>" not in html
    assert "<u>" not in html
    assert "&lt;b&gt;" in html
