"""What any program made: judged with words, scored as a run is, and shown beside runs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import zoo_core
from zoo_core.errors import Mistakes, NotFoundError, UsageError
from zoo_core.tracking.pictures import save_samples
from zoo_core.types import DataInfo
from zoo_eval.commands import leaderboard, score, stats
from zoo_eval.outside import Manifest, entry_name, read_manifest
from zoo_eval.pictures import read_samples
from zoo_eval.reference import scoring_config
from zoo_eval.results import fault

GREY = DataInfo("digits", (1, 8, 8), 17)
COLOUR = DataInfo("cifar10", (3, 4, 4), 256)
PLANE = DataInfo("moons", (2,), None)


@pytest.fixture
def numbers():
    return np.random.default_rng(0)


def colour(numbers, n=6):
    return numbers.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


# -- reading


@pytest.mark.parametrize("how", ["npz", "npz-default-name", "npy", "one-array"])
def test_arrays_are_read_with_channels_last(tmp_path, numbers, how):
    # catches height taken for channels, and samples read from the end
    x = colour(numbers)
    path = tmp_path / ("x.npy" if how == "npy" else "x.npz")
    if how == "npz":
        np.savez_compressed(path, labels=np.arange(6), samples=x)
    elif how == "npz-default-name":
        np.savez(path, x)
    elif how == "one-array":
        np.savez(path, images=x)
    else:
        np.save(path, x)
    rows = read_samples(path, COLOUR, 5)
    assert rows.dtype == torch.uint8
    assert torch.equal(rows, torch.from_numpy(x[:5]).permute(0, 3, 1, 2))


def test_what_the_zoo_writes_it_reads(tmp_path, digits):
    # catches levels lost between 17 and 256, for every level there is
    levels = digits.test.examples(torch.arange(40))
    assert set(levels.unique().tolist()) == set(range(17))
    save_samples(levels.float() / 8 - 1, GREY, tmp_path / "x.npz")
    assert torch.equal(read_samples(tmp_path / "x.npz", GREY, 40), levels)
    with np.load(tmp_path / "x.npz") as file:
        np.save(tmp_path / "grey.npy", file["samples"][..., 0])
    assert torch.equal(read_samples(tmp_path / "grey.npy", GREY, 40), levels)


def test_a_folder_of_pictures_is_read_by_name(tmp_path, numbers):
    # catches the order of the disk, and a picture that is not a picture's own pixels
    x = colour(numbers)
    for k in (3, 1, 0, 2):
        Image.fromarray(x[k]).save(tmp_path / f"{k:03d}.png")
    (tmp_path / "manifest.json").write_text("{}")
    assert torch.equal(read_samples(tmp_path, COLOUR, 3), torch.from_numpy(x[:3]).permute(0, 3, 1, 2))


def test_points_are_read_as_they_are(tmp_path, numbers):
    # catches points quantised
    x = numbers.normal(size=(5, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert torch.equal(read_samples(tmp_path / "x.npy", PLANE, 4), torch.from_numpy(x[:4]))
    x[2, 1] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UsageError, match="1 of 4 points"):
        read_samples(tmp_path / "x.npy", PLANE, 4)


def save(path, array):
    np.savez(path, samples=array)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 4, 4, 3), np.uint8) + 9, "holds 3 samples; the protocol counts 5"),
        (np.zeros((6, 4, 4, 3), np.float32), r"float32.*np\.rint"),
        (np.zeros((6, 4, 4, 3), np.int64), "expected: uint8"),
        (np.zeros((6, 3, 4, 4), np.uint8), "channels stand last"),
        (np.zeros((6, 8, 8, 3), np.uint8), r"expected: uint8 of shape \(n, 4, 4, 3\)"),
        (np.zeros((6, 4, 4), np.uint8), "expected: uint8 of shape"),
        (np.ones((6, 4, 4, 3), np.uint8), "no picture holds a level above 1"),
        (np.array([None] * 6), "expected: uint8"),
        (np.zeros((), np.uint8), "expected: uint8"),
        (np.full((6, 4, 4, 3), np.nan), "expected: uint8"),
    ],
)
def test_unfit_arrays_are_refused_with_words(tmp_path, array, reason):
    # catches floats cast to black, channels first taken for last, pickles loaded, a score of too few
    save(tmp_path / "x.npz", array)
    with pytest.raises(UsageError) as error:
        read_samples(tmp_path / "x.npz", COLOUR, 5)
    assert re.search(reason, str(error.value), re.DOTALL)


def test_files_that_are_none_are_refused_with_words(tmp_path, numbers):
    # catches a traceback out of zipfile or numpy
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    whole = tmp_path / "x.npz"
    save(whole, colour(numbers, 50))
    (tmp_path / "torn.npz").write_bytes(whole.read_bytes()[:-400])
    np.save(tmp_path / "x.npy", colour(numbers))
    (tmp_path / "short.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-10])
    np.savez(tmp_path / "two.npz", a=colour(numbers), b=colour(numbers))
    np.savez(tmp_path / "none.npz")
    for name in (
        "text.npz",
        "empty.npy",
        "torn.npz",
        "short.npy",
        "two.npz",
        "none.npz",
        "gone.npz",
        "x.csv",
    ):
        with pytest.raises(UsageError, match="expected"):
            read_samples(tmp_path / name, COLOUR, 5)


def test_a_header_that_promises_too_much_is_refused_before_it_is_believed(tmp_path):
    # catches memory taken for an array that is not there
    with open(tmp_path / "x.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 4, 4, 4)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UsageError, match="expected: uint8"):
        read_samples(tmp_path / "x.npy", COLOUR, 5)


def test_files_of_another_size_or_none_are_named(tmp_path, numbers):
    # catches a resize that moves every figure
    for k, x in enumerate(colour(numbers, 4)):
        Image.fromarray(x).save(tmp_path / f"{k}.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("<html>")
    with pytest.raises(UsageError, match="2 of 4 files") as error:
        read_samples(tmp_path, COLOUR, 4)
    assert "1.png: 5x4, not 4x4" in str(error.value)
    assert "2.png: not an image" in str(error.value)
    with pytest.raises(UsageError, match="holds 4 samples; the protocol counts 5"):
        read_samples(tmp_path, COLOUR, 5)


# -- what is said of them


def test_manifests_are_found_and_checked(tmp_path):
    # catches a misspelt key that is silently dropped
    save(tmp_path / "x.npz", np.zeros(1))
    assert read_manifest(None, tmp_path / "x.npz") == Manifest()
    (tmp_path / "manifest.yaml").write_text("model: EDM\nnfe: 35\nseed: 2\ntrain_seconds: 1e5\n")
    found = read_manifest(None, tmp_path / "x.npz")
    assert (found.model, found.nfe, found.seed, found.train_seconds) == ("EDM", 35, 2, 1e5)
    assert read_manifest(None, tmp_path) == found
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"nfee": 35, "parameters": -1}))
    with pytest.raises(UsageError, match="is no manifest") as error:
        read_manifest(other, tmp_path)
    assert "nfee" in str(error.value)
    assert "parameters" in str(error.value)
    other.write_text("[1]")
    with pytest.raises(UsageError, match="is no manifest"):
        read_manifest(other, tmp_path)
    with pytest.raises(UsageError, match="no manifest"):
        read_manifest(tmp_path / "gone.json", tmp_path)


def test_an_installed_models_name_is_not_given_away(tmp_path):
    # catches outside figures shown as our own model's
    assert entry_name(None, Manifest(model="My EDM"), tmp_path) == "my-edm"
    assert entry_name(None, Manifest(), tmp_path / "flow-x.npz") == "flow-x"
    assert entry_name("mine", Manifest(model="EDM"), tmp_path) == "mine"
    with pytest.raises(UsageError, match="name of an installed model"):
        entry_name("wgan", Manifest(), tmp_path)
    for name in ("../x", "A b", "<script>", "x" * 65):
        with pytest.raises(UsageError, match="is no name"):
            entry_name(name, Manifest(), tmp_path)


def test_words_of_a_score(tmp_path):
    # catches an option of a run that is taken and ignored, and every mistake but the first one lost
    made = scoring_config({"data": "mnist", "protocol": "standard", "data.root": "here"}, "flow-x")
    assert (made.data.name, made.eval.protocol, made.data.root) == ("mnist", "standard", "here")
    (tmp_path / "mine").mkdir()
    own = scoring_config({"data": str(tmp_path / "mine"), "data.size": "16"}, "flow-x")
    assert (own.data.name, own.data.size) == ("folder", 16)
    with pytest.raises(UsageError, match="no data are named"):
        scoring_config({"protocol": "quick"}, "flow-x")
    with pytest.raises(Mistakes) as error:
        scoring_config({"data": "mnist", "train.steps": "5", "model.width": "3"}, "flow-x")
    assert len(error.value.mistakes) == 2
    with pytest.raises(NotFoundError, match="mnits"):
        scoring_config({"data": "mnits"}, "flow-x")
    with pytest.raises(Mistakes, match=r"data\.sise"):
        scoring_config({"data": "mnist", "data.sise": "5"}, "flow-x")


# -- scored


@pytest.fixture
def histogram(home):
    return zoo_core.run(
        {
            "plugin": "histogram",
            "eval.baselines": False,
            "track.wandb": "off",
            "track.pictures": False,
            "track.progress": False,
        }
    )


def test_samples_score_as_the_run_that_drew_them(histogram, tmp_path):
    # catches another protocol, another order or other levels for what comes from outside
    x = zoo_core.load(histogram["run_dir"]).sample(2000)
    save_samples(x, GREY, tmp_path / "theirs.npz")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"nfe": 7, "parameters": 640, "paper": "arXiv:1234.5678"})
    )
    words = [str(tmp_path / "theirs.npz"), "data=digits", "eval.baselines=false", "--json"]
    done = CliRunner().invoke(score, words, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert fault(found) is None
    assert found["protocol"]["hash"] == histogram["protocol"]["hash"]
    assert found["samples_sha256"] == histogram["samples_sha256"]
    for name, cell in found["metrics"].items():
        assert cell["value"] == pytest.approx(histogram["metrics"][name]["value"], rel=1e-9), name
    assert (found["family"], found["plugin"]) == ("outside", "theirs")
    assert found["cost"] == {"nfe": 7, "parameters": 640}
    assert found["manifest"]["paper"] == "arXiv:1234.5678"
    assert str(tmp_path) not in json.dumps(found)
    board = json.loads(CliRunner().invoke(leaderboard, ["--json"]).stdout)
    (table,) = board["tables"]
    assert {(row["plugin"], row["family"]) for row in table["rows"]} >= {("theirs", "outside")}
    assert len({row["plugin"] for row in table["rows"]}) == 2


def test_too_few_are_told_before_anything_is_scored(home, tmp_path):
    # catches FID of 100 samples in a column of 2,000
    save(tmp_path / "few.npz", np.full((100, 8, 8, 1), 200, np.uint8))
    done = CliRunner().invoke(score, [str(tmp_path / "few.npz"), "data=digits"])
    assert isinstance(done.exception, UsageError)
    assert "100 samples; the protocol counts 2,000" in str(done.exception)
    assert not list((home / "runs").rglob("*.json")) if (home / "runs").exists() else True


def test_a_reference_of_ones_own_pictures(home, tmp_path, numbers):
    # catches a floor that does not shrink with the number of samples, and features computed twice
    for k, x in enumerate(numbers.integers(0, 256, (250, 4, 4, 3), dtype=np.uint8)):
        Image.fromarray(x).save(tmp_path / f"{k:03d}.png")
    words = [f"data={tmp_path}", "data.size=4", "eval.extractor=raw", "--json"]
    first = CliRunner().invoke(stats, words, catch_exceptions=False)
    found = json.loads(first.stdout)
    assert (found["data"], found["n_train"], found["n_test"], found["dim"]) == ("folder", 225, 25, 48)
    assert len(found["sha256"]) == 64
    assert "quick" in found["floors"]
    assert found["floors"]["quick"] > found["floors"]["standard"]
    kept = sorted((home / "stats").iterdir())
    assert kept
    again = CliRunner().invoke(stats, words, catch_exceptions=False)
    assert json.loads(again.stdout) == found
    assert "features of" not in again.stderr
    assert sorted((home / "stats").iterdir()) == kept
    text = CliRunner().invoke(stats, words[:-1], catch_exceptions=False).stdout
    assert found["sha256"] in text
