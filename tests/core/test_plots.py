"""Plots: labels that are there, numbers beside them, curves that say how they were smoothed."""

from __future__ import annotations

import csv
import re
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo_core
from zoo_core.viz.curves import axis_scale, distinct, draw_curves, moving_average, panels
from zoo_core.viz.denoising import column_labels
from zoo_core.viz.image_grid import ImageGrid, draw_grids, interleaved, text_width
from zoo_core.viz.plane import outside, scatter, scatter_samples
from zoo_core.viz.plot import write_numbers
from zoo_core.viz.plots import scores_line


def texts(figure: object) -> list[str]:
    return [text.get_text() for text in figure.texts]  # type: ignore[attr-defined]


def test_every_column_row_and_cell_has_its_label() -> None:
    """Catches labels that are left out, and a label over another column."""
    images = list(torch.zeros(6, 1, 8, 8))
    grid = ImageGrid(images, 3, "t", ["a", "b", "c"], ["first", "second"], [f"{k}" for k in range(6)])
    figure = draw_grids([grid], "Title", "subtitle", "note")
    found = texts(figure)
    assert set(found) == {"Title", "subtitle", "note", "t", "a", "b", "c", "first", "second", *"012345"}
    places = {text.get_text(): text.get_position() for text in figure.texts}
    box = figure.axes[0].get_position()
    for column, label in enumerate("abc"):
        share = (places[label][0] - box.x0) / box.width
        assert column / 3 < share < (column + 1) / 3
        assert places[label][1] > box.y1
    assert places["first"][1] > places["second"][1]
    assert places["first"][0] < box.x0


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_pixels_are_squares_of_one_size(side: int) -> None:
    """Catches images that are resampled: each pixel is a block of the same whole number of pixels."""
    image = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    figure = draw_grids([ImageGrid([image] * 4, 2)], "Title")
    figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba())[..., 0]
    sheet = figure.axes[0].images[0].get_array()[..., 0]
    box = figure.axes[0].get_window_extent()
    top = round(shown.shape[0] - box.y1)
    left = round(box.x0)
    part = shown[top : top + sheet.shape[0], left : left + sheet.shape[1]]
    inner = slice(2, sheet.shape[1] // 2 - 4)  # without the frame
    assert np.array_equal(part[inner, inner], sheet[inner, inner])


@pytest.mark.parametrize("side", [8, 16, 28, 32, 41, 45, 64])
@pytest.mark.parametrize("columns", [2, 3, 5, 10, 14])
def test_labels_of_noise_levels_do_not_overlap(side: int, columns: int) -> None:
    """Catches labels that are wider, as they are drawn, than the layout takes them for."""
    sigmas = [157.3, *np.geomspace(8.04, 0.0267, columns - 2).tolist(), 0.0]
    labels = column_labels(sigmas)
    assert labels[0] == "σ=157"
    assert labels[-1] == "sample"
    figure = draw_grids([ImageGrid([torch.zeros(1, side, side)] * columns, columns, "", labels)], "Title")
    drawn = [text for text in figure.texts if text.get_text() in labels]
    assert len(drawn) == columns
    boxes = [text.get_window_extent() for text in drawn]
    if drawn[0].get_rotation() == 0:
        assert all(one.x1 + 2 <= other.x0 for one, other in pairwise(boxes))
        return
    angle = np.radians(drawn[0].get_rotation())
    for text in drawn:
        text.set_rotation(0)
    height = max(text.get_window_extent().height for text in drawn)
    starts = [text.get_position()[0] * figure.bbox.width for text in drawn]
    assert all((other - one) * np.sin(angle) > height for one, other in pairwise(starts))


def test_text_is_as_wide_as_it_is_drawn() -> None:
    """Catches a width by the number of characters: digits are wider than letters on average."""
    for text in ("σ=0.067", "illicit", "WWW\nii"):
        figure = draw_grids([ImageGrid([torch.zeros(1, 64, 64)], 1, "", [], [text])], "Title")
        (drawn,) = (found for found in figure.texts if found.get_text() == text)
        assert text_width(text) == pytest.approx(drawn.get_window_extent().width, abs=1)


def test_counterparts_stand_below_one_another() -> None:
    first, second = torch.arange(5.0).view(5, 1, 1, 1), 10 + torch.arange(5.0).view(5, 1, 1, 1)
    rows = interleaved(first, second, columns=3)
    assert [None if x is None else float(x) for x in rows] == [0, 1, 2, 10, 11, 12, 3, 4, None, 13, 14, None]


def test_the_moving_average_is_the_weighted_mean_of_its_definition() -> None:
    """Catches an average that starts at 0: sum_k d^(t-k) v_k over sum_k d^(t-k)."""
    values, decay = np.array([4.0, 1.0, 7.0, 3.0]), 0.8
    found = moving_average(values, decay)
    for t in range(4):
        weights = decay ** np.arange(t, -1, -1)
        assert found[t] == pytest.approx((weights * values[: t + 1]).sum() / weights.sum())


def test_losses_share_a_panel() -> None:
    found = panels(["critic/score_gap", "critic/loss", "generator/loss", "lr/net"])
    assert found == {
        "loss": ["critic/loss", "generator/loss"],
        "score gap": ["critic/score_gap"],
        "learning rate": ["lr/net"],
    }


def test_units_and_levels_are_named() -> None:
    records = [{"step": k, "elbo/kl_1": k, "elbo/kl_2": 2 * k, "elbo/loss": k} for k in (1, 2)]
    plot = draw_curves(records, "run", units={"kl": "nats"})
    assert plot is not None
    loss, kl = plot.figure.axes
    assert kl.get_ylabel() == "kl (nats)"
    assert [text.get_text() for text in kl.get_legend().get_texts()] == ["kl_1", "kl_2"]
    assert loss.get_ylabel() == "loss"
    assert distinct(["a/loss", "b/loss"]) == ["a", "b"]
    assert distinct(["a/x", "a/y", "b/x"]) == ["a/x", "a/y", "b/x"]


def test_the_scale_of_an_axis() -> None:
    wide, signed = np.array([1.0, 1000.0]), np.array([-1.0, 1000.0])
    assert [axis_scale(s, [wide]) for s in ("auto", "linear", "log")] == ["log", "linear", "log"]
    assert [axis_scale(s, [signed]) for s in ("auto", "linear", "log")] == ["linear", "linear", "symlog"]


def test_curves_start_at_the_first_record_and_say_how_they_are_smoothed(tmp_path: Path) -> None:
    records = [{"step": k, "a/loss": 1 / k, "b/loss": float("nan") if k == 3 else k} for k in range(1, 31)]
    plot = draw_curves(records, "run", smoothing=0.5)
    assert plot is not None
    assert any("EMA, decay 0.5" in text for text in texts(plot.figure))
    assert len(plot.figure.axes) == 1
    faint, line, *_ = plot.figure.axes[0].lines
    assert faint.get_xdata()[0] == line.get_xdata()[0] == 1
    assert np.allclose(line.get_ydata(), moving_average(np.array([1 / k for k in range(1, 31)]), 0.5))
    files = plot.save(tmp_path / "curves.svg")
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[3]["a/loss"]) == 0.25
    assert rows[2]["b/loss"] == "nan"
    assert draw_curves([{"step": 1, "images": 3}], "run") is None
    raw = draw_curves(records[:5], "run")
    assert raw is not None
    assert any("not smoothed" in text for text in texts(raw.figure))


def test_points_outside_the_frame_are_counted() -> None:
    assert outside(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -3.0]]), 1.5) == 2
    plot = scatter(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [9.0, 0.0]]), "t")
    assert "1 outside" in plot.figure.axes[1].get_title(loc="left")


def test_samples_alone_are_one_set_and_may_lie_in_the_origin(tmp_path: Path) -> None:
    """Catches the samples drawn twice, once under the name of the data."""
    plot = scatter_samples(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "t")
    assert [axes.get_title(loc="left") for axes in plot.figure.axes] == ["2 samples"]
    assert list(plot.numbers) == ["samples"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scatter_samples(torch.zeros(3, 2), "t").save(tmp_path / "zeros.png")


def test_numbers_of_one_length_are_csv_and_others_npz(tmp_path: Path) -> None:
    columns = write_numbers({"a": [1, 2], "b": torch.tensor([0.5, 1.5])}, tmp_path / "x")
    assert columns is not None
    assert columns.read_text() == "a,b\n1,0.5\n2,1.5\n"
    arrays = write_numbers({"a": [1, 2], "b": torch.zeros(2, 2)}, tmp_path / "y")
    assert arrays is not None
    assert np.load(arrays)["b"].shape == (2, 2)
    assert write_numbers({}, tmp_path / "z") is None


def test_equal_plots_have_equal_bytes(tmp_path: Path) -> None:
    for suffix in ("png", "svg", "pdf"):
        paths = [tmp_path / f"{k}.{suffix}" for k in range(2)]
        for path in paths:
            scatter(torch.eye(2), torch.eye(2), "t").save(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_plot_of_scored_samples_names_distance_and_modes(home: Path) -> None:
    """Catches a plot that is drawn without the scores, and a score that is not the recorded one."""
    options = {"eval.baselines": False, "plots.format": "svg", "track.progress": False}
    result = zoo_core.run(options, plugin="gaussian", data="ring", run_dir="here")
    scores = {name.partition("[")[0]: (name, value) for name, value in result.metrics.items()}
    words = re.findall(">([^<]+)</text>", Path("here/plots/samples.svg").read_text())
    shown = "".join("".join(words).split())  # the subtitle has two lines
    for base, note in (("FD", ""), ("modes", "of8"), ("on-modes", "")):
        column, value = scores[base]
        assert f"{column}{value.value:.3g}{note}" in shown
    assert scores_line({}) == ""
