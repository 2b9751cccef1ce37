"""The report of a restoration: the table of methods and trivial restorations, files, the image grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import ZooError
from zoo_core.machine.files import write_atomic
from zoo_core.runs import Run
from zoo_core.viz.image_grid import ImageGrid, draw_grids, interleaved
from zoo_core.viz.plots import save_folder
from zoo_eval.extractors.effnet import EffNetLite0
from zoo_restore.baselines import fitted_gaussian, gaussian_posterior_mean, nearest_training_image
from zoo_restore.operator import Operator
from zoo_restore.restoration import Measured, Restored, levels_of
from zoo_restore.scores import COLUMNS, scores
from zoo_restore.spec import OperatorSpec

SHOWN = 10
"""Images of the grid."""
Row = dict[str, Any]


def trivial_restorations(
    run: Run, operator: Operator, spec: OperatorSpec, measured: Measured, say: Callable[[str], None]
) -> Mapping[str, Tensor]:
    """Return the trivial restorations by name, (n, *shape) each; what can't be made is said."""
    found: dict[str, Tensor] = {}
    if spec.pseudo_inverse:
        found["pseudo-inverse"] = operator.inverse(measured.y)
    found["nearest training image"] = nearest_training_image(run, operator, measured.y)
    if not spec.linear:
        say(f"no Gaussian posterior mean: operator={spec.name} is not linear")
        return found
    try:
        mean, factor = fitted_gaussian(run)
    except ZooError as error:
        say(f"no Gaussian posterior mean: {error.what}")
        return found
    restored = gaussian_posterior_mean(mean, factor, operator.spectrum, measured.y, measured.noise)
    found["Gaussian posterior mean"] = restored.float()
    return found


def rows_of(
    run: Run,
    operator: Operator,
    measured: Measured,
    trivial: Mapping[str, Tensor],
    restored: Mapping[str, Restored],
) -> list[Row]:
    """Return the scores of each method and each trivial restoration, methods first."""
    target = measured.image if measured.original else None
    network = EffNetLite0(run.device) if measured.original else None
    rows: list[Row] = []
    for name, made in restored.items():
        one = scores(made.draws, measured.y, operator, target, network)
        rows.append({"method": name, **one, "NFE": made.calls, "seconds": made.seconds})
    for name, x in trivial.items():
        one = scores([levels_of(x, run)], measured.y, operator, target, network)
        rows.append({"method": name, **one, "NFE": None, "seconds": None})
    return rows


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table as texts."""
    shown = [
        column for column in (*COLUMNS, "NFE", "seconds") if any(row[column] is not None for row in rows)
    ]
    return ["method", *shown], [[row["method"], *(_text(row[column]) for column in shown)] for row in rows]


def _text(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def grid(
    run: Run, spec: OperatorSpec, measured: Measured, view: Tensor, restored: Mapping[str, Restored]
) -> Any:
    """Return a figure with a row for the originals, the degraded images and each method's restorations."""
    first = {"original": measured.image} if measured.original else {}
    shown = min(SHOWN, len(view))
    kinds = {**first, "degraded": view, **{name: made.draws[0] for name, made in restored.items()}}
    images = interleaved(*(_of_size(x[:shown], measured.image) for x in kinds.values()), columns=shown)
    sheet = ImageGrid(images, shown, row_labels=list(kinds))
    noise = f" with noise of standard deviation {measured.noise:g}" if measured.noise else ""
    line = f"{run.config.plugin} on {run.config.data.name} · {run.step:,} steps · seed {run.config.seed}"
    return draw_grids([sheet], f"Restored images: operator={spec.name}{noise}", line)


def _of_size(x: Tensor, image: Tensor) -> Tensor:
    """Return images enlarged by a whole factor to the size of others."""
    factor = image.shape[-1] // x.shape[-1]
    return x.cpu().repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def write(
    out: Path,
    run: Run,
    figure: Any,
    measured: Measured,
    restored: Mapping[str, Restored],
    record: Mapping[str, Any],
) -> None:
    """Write grid.png, scores.json, and the restored images in a folder for each method.

    Files have the names of the originals; further draws have `-2` and so on behind them.
    """
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "grid.png")
    write_atomic(out / "scores.json", json.dumps(record, indent=1, allow_nan=False).encode())
    for name, made in restored.items():
        save_folder(torch.cat(made.draws), run.data.info, out / name, list(measured.names))
