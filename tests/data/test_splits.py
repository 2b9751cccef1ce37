"""The digits and the published datasets: what is in each split never moves."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data import benchmarks, digits
from zoo_core.data.specs import DATASETS
from zoo_core.data.splits import fingerprint, held_out, replace_digests, stratified
from zoo_core.data.table import Resident, Table
from zoo_core.errors import MachineError, UsageError
from zoo_core.registry.spec import NAME, load_target

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize("spec", DATASETS, ids=lambda spec: spec.name)
def test_specs_name_what_exists(spec) -> None:
    """Catches a target or config that is misspelled."""
    assert NAME.fullmatch(spec.name)
    assert callable(load_target(spec.target))
    assert issubclass(load_target(spec.config), DataConfig)


@pytest.mark.parametrize("spec", DATASETS[:6], ids=lambda spec: spec.name)
def test_specs_say_what_is_loaded(spec) -> None:
    """Catches a listing that promises another shape than a model gets."""
    info = load_target(spec.target)(DataConfig(name=spec.name)).info
    assert (info.name, info.shape, info.levels, info.classes) == (
        spec.name,
        spec.shape,
        spec.levels,
        spec.classes,
    )


def test_stratified_keeps_proportions_and_every_row() -> None:
    """Catches lost rows, and a class that gets more or less than its share by one or more."""
    label = torch.tensor([0] * 50 + [1] * 31 + [2] * 19)[
        torch.randperm(100, generator=torch.Generator().manual_seed(0))
    ]
    train, test = stratified(label, 20)
    assert torch.equal(torch.cat((train, test)).sort().values, torch.arange(100))
    share = label[test].bincount()
    assert share.sum() == 20
    assert ((share - torch.tensor([10, 6.2, 3.8])).abs() < 1).all()


def test_stratified_shuffles() -> None:
    """Catches a split that takes the first rows: sorted data would lose their later half."""
    _, test = stratified(torch.zeros(1000, dtype=torch.int64), 100)
    assert 400 < test.double().mean() < 600


@pytest.mark.parametrize(
    ("label", "total", "fraction", "expected"),
    [
        (None, 10, 0.2, 2),
        (None, 10, 0.01, 1),  # one at least
        (None, 10, 0.999, 9),  # and one to train on
        (None, 1, 0.5, 0),
        ([0, 0, 0, 1, 2, 3], 6, 0.9, 2),  # each class keeps one
        ([0, 1, 2, 3], 4, 0.5, 2),  # unless all have but one
    ],
)
def test_a_part_is_held_out_of_any_number_of_rows(
    label: list[int] | None, total: int, fraction: float, expected: int
) -> None:
    kept, held = held_out(None if label is None else torch.tensor(label), total, fraction)
    assert len(held) == expected
    assert torch.cat((kept, held)).sort().values.tolist() == list(range(total))


def test_digits_are_all_of_scikit_learns() -> None:
    """Catches scaled, lost, repeated or mislabeled digits."""
    from sklearn.datasets import load_digits

    data = digits.load(DataConfig())
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.examples(torch.tensor([0])).dtype == torch.uint8
    ours = torch.cat(
        [
            torch.cat((split.examples(torch.arange(len(split))).flatten(1), split.label[:, None]), 1)
            for split in (data.train, data.test)
        ]
    )
    x, y = load_digits(return_X_y=True)
    theirs = torch.cat((torch.from_numpy(x), torch.from_numpy(y)[:, None].double()), 1).to(ours.dtype)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert ours[:, :-1].min() == 0
    assert ours[:, :-1].max() == 16
    assert data.test.label.bincount().min() >= 34


def test_fingerprint_sees_order_labels_and_the_border_between_splits() -> None:
    """Catches data that changed under a hash that did not."""
    a, b, label = b"a" * 32, b"b" * 32, torch.tensor([0, 1])

    def table(digests: list[bytes], label: Tensor | None = None) -> Table:
        return replace_digests(Resident(torch.zeros(len(digests), 2), label), digests)

    seen = {
        fingerprint(table([a, b])),
        fingerprint(table([b, a])),
        fingerprint(table([a, b], label)),
        fingerprint(table([a, b], label.flip(0))),
        fingerprint(table([a]), table([b])),
        fingerprint(table([a, b]), table([])),
    }
    assert len(seen) == 6


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_without_a_network_the_error_names_folder_and_file(
    name: str, tmp_path: Path, no_network: None
) -> None:
    """Catches urllib's traceback, and a message that does not say what to put where."""
    with pytest.raises(UsageError) as error:
        benchmarks.load(DataConfig(name=name, root=str(tmp_path)))
    told = str(error.value)
    assert str(tmp_path / benchmarks.BENCHMARKS[name].files[0]) in told
    assert "Network is unreachable" in told
    assert "next: data.root=FOLDER" in told
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("missing", [True, False], ids=["download", "read"])
def test_a_fault_of_the_disk_is_not_said_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """Catches advice to delete a good dataset because a disk is full or failing."""
    number = errno.ENOSPC if missing else errno.EIO

    class Failing:
        def __init__(self, root: Path, **_: object) -> None:
            raise OSError(number, os.strerror(number), str(root / "file"))

    monkeypatch.setattr("torchvision.datasets.MNIST", Failing)
    if not missing:
        for file in benchmarks.BENCHMARKS["mnist"].files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
    with pytest.raises(MachineError, match=os.strerror(number)):
        benchmarks.load(DataConfig(name="mnist", root=str(tmp_path)))


def test_the_default_root_is_in_the_zoos_home(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches downloads into the working directory."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match=str(tmp_path / "home" / "data")):
        benchmarks.load(DataConfig(name="mnist"))


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08\x03" + bytes(12), b"<html>" * 100])
def test_corrupt_files_are_told_from_missing_ones(tmp_path: Path, content: bytes) -> None:
    """Catches a parser's error that reaches the user raw, and a truncated file that is taken for data."""
    for file in benchmarks.BENCHMARKS["mnist"].files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=r"is corrupt\n.*\n.*next: delete .*MNIST/raw"):
        benchmarks.load(DataConfig(name="mnist", root=str(tmp_path)))


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs MNIST in ../shared/data/mnist")
def test_mnist_is_read_as_published() -> None:
    """Catches splits swapped and images scaled: the published counts of digits, and of the first labels."""
    data = benchmarks.load(DataConfig(name="mnist", root=str(SHARED / "mnist")))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.label.bincount().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert data.train.label[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.train.examples(torch.arange(60_000)).double().mean().item() / 255 == pytest.approx(
        0.1307, abs=1e-4
    )
    assert data.info.shape == tuple(data.train.examples(torch.tensor([0])).shape[1:])
