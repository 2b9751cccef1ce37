"""Notebooks in examples/notebooks: valid, without outputs, and they run from the first cell to the last."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

NOTEBOOKS = sorted((CHECKOUT / "examples" / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@names
def test_a_notebook_is_valid_and_holds_no_outputs(path: Path) -> None:
    """Outputs of a commit would grow the history and go stale."""
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "examples/notebooks"))
@names
def test_a_notebook_runs(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # its shell commands call the `zoo` of this environment
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(home.parent)}}
    done = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()
    shell = [cell for cell in done.cells if cell.cell_type == "code" and cell.source.startswith("!")]
    for cell in shell:  # a command that fails raises nothing in a notebook
        texts = "".join(output.get("text", "") for output in cell.outputs)
        assert "error:" not in texts, texts
    images = [o for c in done.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(images) >= 2  # the grid of samples and that of restorations
    assert (home.parent / "comparison.html").is_file()
