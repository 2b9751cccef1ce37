"""The identity of a run's data: what changed is said, wherever data are used; samples need no data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core
from zoo_core.config import DataConfig
from zoo_core.data import identity
from zoo_core.data.configs import CaptionedFolderConfig, FolderConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.folder import load
from zoo_core.data.loading import Dataset
from zoo_core.data.preparation import with_validation
from zoo_core.data.toy import load as load_toy
from zoo_core.errors import MachineError, UsageError

CLASSES = ("cat", "dog", "emu")


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k in range(30):
        image(tmp_path / "images" / CLASSES[k % 3] / f"{k:02}.png", k)
    return tmp_path / "images"


def read(root: Path, **options: Any) -> Dataset:
    return load(FolderConfig.model_validate({"path": str(root), "size": 4, "channels": 1, **options}))


def add(root: Path) -> None:
    for k in range(5):
        image(root / "cat" / f"new{k}.png", 100 + k)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "added": (add, "5 examples added"),
    "removed": (lambda root: (root / "dog" / "01.png").unlink(), "1 examples removed"),
    "replaced": (lambda root: image(root / "dog" / "01.png", 99), "1 examples added"),
    "renamed": (lambda root: (root / "dog").rename(root / "doe"), "1 classes renamed: 'dog' is now 'doe'"),
    "new class": (lambda root: image(root / "fox" / "0.png", 99), "1 classes added: fox"),
    "no class": (lambda root: shutil.rmtree(root / "emu"), "1 classes removed: emu"),
    "relabeled": (lambda root: (root / "dog" / "01.png").rename(root / "cat" / "01.png"), "sha256: "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_said(root: Path, tmp_path: Path, change: str) -> None:
    """Catches other data that pass for a run's own, and a message that leaves the user to search."""
    run = tmp_path / "run"
    run.mkdir()
    identity.write(run, read(root))
    identity.check(run, read(root))
    modify, line = CHANGES[change]
    modify(root)
    with pytest.raises(UsageError, match="the data changed since the run") as error:
        identity.check(run, read(root))
    assert line in str(error.value)
    assert "run_dir=" in str(error.value)


def test_another_split_of_the_same_images_is_other_data(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    identity.write(run, read(root, holdout=0.1))
    with pytest.raises(UsageError, match="examples moved to another split"):
        identity.check(run, read(root, holdout=0.4))
    held = tmp_path / "held"
    held.mkdir()
    identity.write(held, with_validation(read(root), 0.2))
    with pytest.raises(UsageError, match="split: 22 train/3 test/5 validation, now 27 train/3 test"):
        identity.check(held, read(root))


def test_a_record_is_written_once(root: Path, tmp_path: Path) -> None:
    """Catches a resume on other data that makes the record fit them."""
    run = tmp_path / "run"
    run.mkdir()
    identity.write(run, read(root))
    before = (run / identity.RECORD).read_bytes()
    add(root)
    identity.write(run, read(root))
    assert (run / identity.RECORD).read_bytes() == before


def test_an_earlier_runs_provenance_is_compared(root: Path, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_bytes(json.dumps({"data": {"sha256": read(root).sha256}}).encode())
    identity.check(tmp_path, read(root))
    add(root)
    with pytest.raises(UsageError, match="the data changed"):
        identity.check(tmp_path, read(root))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"schema": 1}', b'{"schema": 2, "sha256": ""}', b"\xff"]
)
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / identity.RECORD).write_bytes(content)
    with pytest.raises(MachineError, match=r"data\.json is damaged"):
        identity.read(tmp_path)


@pytest.mark.parametrize("density", [None, 0])
def test_a_record_that_does_not_say_whether_the_density_is_known_is_damaged(
    root: Path, tmp_path: Path, density: object
) -> None:
    document = identity.record(read(root))
    del document["density"]
    document |= {} if density is None else {"density": density}
    (tmp_path / identity.RECORD).write_bytes(json.dumps(document).encode())
    with pytest.raises(MachineError, match=r"data\.json is damaged"):
        identity.stored(tmp_path, lambda: read(root))


@pytest.mark.parametrize(
    "wrong",
    [{"splits": "x"}, {"splits": {"train": 1}}, {"splits": {"train": {"count": 1}}}, {"class_names": 3}],
)
def test_a_record_of_the_wrong_form_is_named_where_it_is_compared(
    root: Path, tmp_path: Path, wrong: dict[str, object]
) -> None:
    """Catches a traceback from a record that came with somebody's bundle."""
    dataset = read(root)
    document = {**identity.record(dataset), "sha256": "0" * 64, **wrong}
    (tmp_path / identity.RECORD).write_bytes(json.dumps(document).encode())
    with pytest.raises(MachineError, match=r"data\.json is damaged"):
        identity.check(tmp_path, dataset)


def same_rows(a: Dataset, b: Dataset) -> None:
    for name in ("train", "test"):
        one, two = getattr(a, name), getattr(b, name)
        index = torch.arange(len(one))
        assert len(one) == len(two)
        assert torch.equal(one.examples(index), two.examples(index))
        for values, others in ((one.label, two.label), (one.tokens, two.tokens)):
            assert (values is None) == (others is None)
            assert values is None or torch.equal(values, others)


@pytest.mark.parametrize("task", ["class", "text", "paired", "unpaired"])
def test_stored_data_are_the_data(tmp_path: Path, task: Any) -> None:
    """Catches labels, captions or sources that come back in another order."""
    data = load_digits(DataConfig())
    identity.write(tmp_path, data)
    opened: list[int] = []

    def again() -> Dataset:
        opened.append(1)
        return load_digits(DataConfig())

    found = identity.stored(tmp_path, again)
    assert found is not None
    one, two = data.for_task(task, "mask"), found.for_task(task, "mask")
    assert two.info == one.info
    assert two.tasks == one.tasks
    assert not opened
    same_rows(one, two)
    assert opened == [1]
    if one.origin is not None and two.origin is not None:
        rows = torch.arange(len(one.origin.test))
        assert torch.equal(one.origin.test.examples(rows), two.origin.test.examples(rows))


def test_data_with_a_density_are_loaded() -> None:
    assert identity.record(load_toy(DataConfig(name="ring")))["density"]


def test_stored_data_that_changed_are_refused_when_they_are_read(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    identity.write(run, read(root))
    add(root)
    found = identity.stored(run, lambda: read(root))
    assert found is not None
    assert found.class_names == CLASSES
    with pytest.raises(UsageError, match="5 examples added"):
        found.train.examples(torch.arange(3))


# -- whole runs


def options(root: Path, plugin: str = "cgan") -> dict[str, Any]:
    return {
        "plugin": plugin, "data": "folder", "data.path": str(root), "data.size": 8, "data.channels": 1,
        "train.steps": 2, "eval.protocol": "none", "track.wandb": "off", "track.plots": False,
        "track.progress": False,
    }  # fmt: skip


def test_a_run_knows_its_data(root: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches an old result for new images, a resume on them, and classes that trade their names."""
    first = zoo_core.run(options(root))
    folder = Path(first.run_dir)
    assert read(root, size=8).sha256[:6] in folder.name
    zoo_core.run(options(root) | {"track.progress": True})
    assert "already done" in capsys.readouterr().err
    drawn = zoo_core.load(folder).sample(4, cond="dog")
    (root / "dog").rename(root / "ape")
    with pytest.raises(UsageError, match="classes"):
        zoo_core.resume(folder)
    assert torch.equal(zoo_core.load(folder).sample(4, cond="dog"), drawn)
    add(root)
    second = zoo_core.run(options(root))
    assert second.run_dir != first.run_dir
    with pytest.raises(UsageError, match="examples added"):
        zoo_core.run(options(root) | {"run_dir": str(folder)})
    shutil.rmtree(root)
    made = zoo_core.load(folder)
    assert torch.equal(made.sample(4, cond="dog"), drawn)
    assert made.sample(4).shape == (4, 1, 8, 8)
    with pytest.raises(UsageError, match="there is no folder"):
        made.data.test.examples(torch.arange(2))


def test_data_from_python_are_known_by_their_content(home: Path) -> None:
    x = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    given = {key: value for key, value in options(Path("."), "vae").items() if not key.startswith("data")}
    first = zoo_core.run(given, dataset=(x, torch.arange(40) % 2))
    assert Path(first.run_dir).parent == home / "runs" / "python" / "vae"
    assert zoo_core.run(given, dataset=(x, torch.arange(40) % 2)).run_dir == first.run_dir
    assert zoo_core.run(given, dataset=(255 - x, torch.arange(40) % 2)).run_dir != first.run_dir
    assert zoo_core.load(first.run_dir).sample(3).shape == (3, 1, 8, 8)
    with pytest.raises(UsageError, match="come from a Python program"):
        zoo_core.resume(first.run_dir)


def test_captions_are_stored(tmp_path: Path) -> None:
    """A prompt is read with the stored vocabulary, whatever became of the files."""
    from zoo_core.data.captioned_folder import load as load_captioned
    from zoo_core.data.conditioning import read_conditions

    (tmp_path / "text").mkdir()
    for k in range(10):
        image(tmp_path / "images" / f"{k}.png", k)
        (tmp_path / "text" / f"{k}.txt").write_bytes(b"a cat\na black cat" if k % 2 else b"a dog")
    config = CaptionedFolderConfig(path=str(tmp_path / "images"), size=4, channels=1, min_count=1)
    data = load_captioned(config)
    (tmp_path / "run").mkdir()
    identity.write(tmp_path / "run", data)
    shutil.rmtree(tmp_path / "images")
    found = identity.stored(tmp_path / "run", lambda: load_captioned(config))
    assert found is not None
    tokens = read_conditions("a black cat", found.for_task("text"), 2).tokens
    assert torch.equal(tokens, read_conditions("a black cat", data.for_task("text"), 2).tokens)  # type: ignore[arg-type]
