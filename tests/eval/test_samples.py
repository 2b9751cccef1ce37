"""What any program made: evaluated with words, scored as a run is, and shown beside runs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import zoo_core
from zoo_core.data.loading import Dataset, Resident
from zoo_core.errors import Mistakes, NotFoundError, UsageError
from zoo_core.results import Result, read_result
from zoo_core.types import DataInfo
from zoo_core.viz.plots import save_samples
from zoo_eval.cli import score, stats
from zoo_eval.reference import scoring_config
from zoo_eval.sample_files import SampleSet, read_samples, subset
from zoo_eval.samples import Manifest, entry_name, read_manifest


def dataset(name, shape, levels, most=255):
    """Return a dataset whose training split reaches a value."""
    kind = torch.float32 if levels is None else torch.uint8
    train = Resident(torch.full((30, *shape), most, dtype=kind))
    return Dataset(DataInfo(name, shape, levels), train, train, "x")


GRAY = dataset("digits", (1, 8, 8), 17, 16)
COLOR = dataset("cifar10", (3, 4, 4), 256)
PLANE = dataset("moons", (2,), None, 1.0)


@pytest.fixture
def numbers():
    return np.random.default_rng(0)


def colored(numbers, n=6):
    return numbers.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


# -- reading


@pytest.mark.parametrize("how", ["npz", "npz-default-name", "npy", "one-array"])
def test_arrays_are_read_with_channels_last(tmp_path, numbers, how):
    # catches height taken for channels, and samples read from the end
    x = colored(numbers)
    path = tmp_path / ("x.npy" if how == "npy" else "x.npz")
    if how == "npz":
        np.savez_compressed(path, labels=np.arange(6), samples=x)
    elif how == "npz-default-name":
        np.savez(path, x)
    elif how == "one-array":
        np.savez(path, images=x)
    else:
        np.save(path, x)
    found = read_samples(path, COLOR, 6)
    assert found.rows.dtype == torch.uint8
    assert torch.equal(found.rows, torch.from_numpy(x).permute(0, 3, 1, 2))
    assert found.notes == (("not read: 'labels' of x.npz",) if how == "npz" else ())


def test_what_the_zoo_writes_it_reads(tmp_path, digits):
    # catches levels lost between 17 and 256, for every level there is
    levels = digits.test.examples(torch.arange(40))
    assert set(levels.unique().tolist()) == set(range(17))
    save_samples(levels.float() / 8 - 1, GRAY.info, tmp_path / "x.npz")
    assert torch.equal(read_samples(tmp_path / "x.npz", GRAY, 40).rows, levels)
    with np.load(tmp_path / "x.npz") as file:
        np.save(tmp_path / "gray.npy", file["samples"][..., 0])
    assert torch.equal(read_samples(tmp_path / "gray.npy", GRAY, 40).rows, levels)


def test_a_folder_of_images_is_read_by_name(tmp_path, numbers):
    # catches the order of the disk, and a image that is not a image's own pixels
    x = colored(numbers)
    for k in (3, 1, 0, 2):
        Image.fromarray(x[k]).save(tmp_path / f"{k:03d}.png")
    (tmp_path / "manifest.json").write_text("{}")
    found = read_samples(tmp_path, COLOR, 3)
    rows = torch.from_numpy(x[:4]).permute(0, 3, 1, 2)
    assert torch.equal(found.rows, rows[subset(4, 3)])
    assert found.notes == (
        "scoring a random subset of 3 of 4 samples",
        "1 files without an image's extension left out",
    )


def test_points_are_read_as_they_are(tmp_path, numbers):
    # catches points quantized
    x = numbers.normal(size=(5, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert torch.equal(read_samples(tmp_path / "x.npy", PLANE, 5).rows, torch.from_numpy(x))
    np.save(tmp_path / "double.npy", x.astype(np.float64))
    double = read_samples(tmp_path / "double.npy", PLANE, 5)
    assert torch.equal(double.rows, torch.from_numpy(x))
    assert double.notes == ("float64 converted to float32",)
    x[2, 1] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UsageError, match="1 of 5 points"):
        read_samples(tmp_path / "x.npy", PLANE, 5)


# -- which of them, and what is converted


def test_of_sorted_samples_a_random_subset_is_scored(tmp_path):
    # catches the first n of samples sorted by class: all of one class
    save(tmp_path / "x.npz", np.repeat(np.arange(100, 200, dtype=np.uint8), 48).reshape(100, 4, 4, 3))
    found = read_samples(tmp_path / "x.npz", COLOR, 50)
    values = found.rows[:, 0, 0, 0].int() - 100
    assert torch.equal(values, subset(100, 50).int())
    assert values.unique().numel() == 50
    assert 35 < float(values.double().mean()) < 65
    assert int((values >= 50).sum()) > 10
    assert found.notes == ("scoring a random subset of 50 of 100 samples",)
    assert torch.equal(read_samples(tmp_path / "x.npz", COLOR, 50).rows, found.rows)


def folder_of(tmp_path, images, **options):
    for k, image in enumerate(images):
        image.save(tmp_path / f"{k:03d}.{options.get('suffix', 'png')}")
    return tmp_path


def test_every_conversion_of_a_folder_is_said(tmp_path, numbers):
    # catches alpha, 16 bits, color and lossy formats that change pixels without a word
    gray = numbers.integers(0, 256, (6, 8, 8), dtype=np.uint8)
    images = [Image.fromarray(x) for x in gray]
    clear = Image.merge("LA", (images[1], images[2]))
    deep = Image.fromarray(gray[2].astype(np.uint16) * 257)
    color = Image.merge("RGB", images[:3])
    same = Image.merge("RGB", [images[3]] * 3)
    bits = images[5].convert("1")
    notes = read_samples(folder_of(tmp_path, [images[0], clear, deep, color, same, bits]), GRAY, 6).notes
    said = "\n".join(notes)
    assert "transparen" in said
    assert "16 bit" in said
    assert "warning: 1 of 6 files: color converted to gray" in notes
    assert "warning: 1 of 6 files: 1 bit scaled to 8" in notes


def test_lossy_formats_and_gray_for_color_are_said(tmp_path, numbers):
    # catches JPEG's artifacts scored as the model's
    images = [Image.fromarray(x[..., 0]) for x in colored(numbers, 3)]
    notes = read_samples(folder_of(tmp_path, images, suffix="jpg"), COLOR, 3).notes
    assert "warning: 3 of 3 files: JPEG, which is lossy" in notes
    assert "warning: 3 of 3 files: gray repeated over the color channels" in notes


IMPLAUSIBLE = pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(17, dtype=np.uint8), r"values 0\.\.16: did you mean levels=17"),
        (np.arange(10, dtype=np.uint8), r"values 0\.\.9: did you mean levels=17"),
        (np.arange(101, dtype=np.uint8), r"values 0\.\.100: did you mean levels=101"),
        (np.array([0, 1, 255], np.uint8), r"\[-1, 1\] cast to uint8"),
        (np.array([0, 1], np.uint8), r"\[0, 1\] cast to uint8"),
    ],
)


@IMPLAUSIBLE
def test_implausible_ranges_are_refused_with_what_was_probably_meant(tmp_path, array, message):
    # catches levels of the data, and floats cast to uint8, scored as 8-bit images
    np.save(tmp_path / "x.npy", np.resize(array, (10, 8, 8)))
    with pytest.raises(UsageError, match=message):
        read_samples(tmp_path / "x.npy", GRAY, 10)


@IMPLAUSIBLE
def test_a_folder_is_refused_for_the_ranges_that_an_array_is_refused_for(tmp_path, array, message):
    # catches images saved with the data's levels, or from floats cast to uint8, and scored as nearly black
    with pytest.raises(UsageError, match=message):
        read_samples(folder_of(tmp_path, values_of(array)), GRAY, 10)


def values_of(array, count=10):
    return [Image.fromarray(x) for x in np.resize(array, (count, 8, 8))]


def test_levels_say_what_the_values_of_a_folder_are(tmp_path):
    # catches levels=17 taken for a folder and ignored: a score of images that are nearly black
    folder = folder_of(tmp_path, values_of(np.arange(17, dtype=np.uint8)))
    found = read_samples(folder, GRAY, 10, levels=17)
    array = np.resize(np.arange(17, dtype=np.uint8), (10, 1, 8, 8))
    assert torch.equal(found.rows, torch.from_numpy(array))
    assert found.notes == ("values 0 to 16 scaled to the data's 17 levels",)
    assert read_samples(folder, GRAY, 10, levels=256).rows.unique().tolist() == [0, 1]
    with pytest.raises(UsageError, match="values up to 16"):
        read_samples(folder, GRAY, 10, levels=16)


def test_a_range_that_a_conversion_made_is_refused_with_the_conversion(tmp_path):
    # catches 8-bit values in 16-bit files, refused as if they had been in [0, 1]
    for k in range(5):
        Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / f"{k}.png")
    with pytest.raises(UsageError, match="no image holds a value above 1") as error:
        read_samples(tmp_path, GRAY, 5)
    assert "5 of 5 files: 16 bits scaled to 8" in str(error.value)


def test_files_of_several_folders_are_one_set_and_that_is_said(tmp_path, numbers):
    # catches a folder of a dataset, train/ and test/, scored as samples without a word
    for k, x in enumerate(colored(numbers, 6)):
        folder = tmp_path / ("train" if k % 2 else "test")
        folder.mkdir(exist_ok=True)
        Image.fromarray(x).save(folder / f"{k}.png")
    found = read_samples(tmp_path, COLOR, 6)
    assert f"files of 2 folders in {tmp_path} scored as one set of samples" in found.notes
    assert not read_samples(tmp_path / "train", COLOR, 3).notes


def test_a_link_out_of_the_folder_is_refused_without_an_option_that_scoring_lacks(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "0.png").symlink_to(tmp_path / "x.png")
    with pytest.raises(UsageError, match="a link that leads out of the folder") as error:
        read_samples(tmp_path / "samples", COLOR, 1)
    assert "data.links" not in str(error.value)


@pytest.mark.parametrize("kind", ["16 bit", "transparency", "JPEG", "color", "1 bit"])
def test_levels_and_a_conversion_of_the_values_exclude_each_other(tmp_path, kind):
    # catches 16-bit files with the values 0 to 16, which are all 0 in 8 bits, scored as black
    values = np.resize(np.arange(17, dtype=np.uint8), (8, 8))
    gray = Image.fromarray(values)
    changed = {
        "16 bit": Image.fromarray(values.astype(np.uint16)),
        "transparency": Image.merge("LA", (gray, Image.fromarray(255 - values))),
        "color": Image.merge("RGB", (gray, gray, gray.rotate(90))),
        "1 bit": Image.fromarray(np.zeros((8, 8), np.uint8)).convert("1"),
    }
    gray.save(tmp_path / "0.png")
    changed.get(kind, gray).save(tmp_path / f"1.{'jpg' if kind == 'JPEG' else 'png'}")
    with pytest.raises(UsageError, match="values were converted") as error:
        read_samples(tmp_path, GRAY, 2, levels=17)
    assert f"1 of 2 files: {kind}" in str(error.value)


def test_files_of_one_bit_and_gray_files_for_color_are_plausible(tmp_path):
    # catches values 0 and 255 taken for a cast, and levels refused for channels that are only repeated
    (tmp_path / "bits").mkdir()
    bits = folder_of(tmp_path / "bits", [image.convert("1") for image in values_of(np.uint8([0, 255, 255]))])
    assert read_samples(bits, GRAY, 10).rows.unique().tolist() == [0, 16]
    (tmp_path / "gray").mkdir()
    gray = np.resize(np.arange(4, dtype=np.uint8), (6, 4, 4))
    folder = folder_of(tmp_path / "gray", [Image.fromarray(x) for x in gray])
    found = read_samples(folder, COLOR, 6, levels=4)
    assert torch.equal(found.rows, torch.from_numpy(gray * 85)[:, None].expand(-1, 3, -1, -1))


def test_levels_say_what_the_values_of_an_array_are(tmp_path):
    # catches levels scaled twice, and values beyond those that were announced
    np.save(tmp_path / "x.npy", np.resize(np.arange(17, dtype=np.uint8), (10, 8, 8)))
    found = read_samples(tmp_path / "x.npy", GRAY, 10, levels=17)
    assert found.rows.unique().tolist() == list(range(17))
    assert found.notes == ("values 0 to 16 scaled to the data's 17 levels",)
    np.save(tmp_path / "bits.npy", np.resize(np.arange(256, dtype=np.uint8), (10, 8, 8)))
    scaled = "8-bit values scaled to the data's 17 levels"
    assert read_samples(tmp_path / "bits.npy", GRAY, 10).notes == (scaled,)
    folder_of(tmp_path, values_of(np.arange(256, dtype=np.uint8)))
    assert scaled in read_samples(tmp_path, GRAY, 10).notes
    dark = read_samples(tmp_path / "x.npy", GRAY, 10, levels=256)
    assert dark.rows.unique().tolist() == [0, 1]
    for levels, message in ((16, "values up to 16"), (1, "levels=1"), (300, "levels=300")):
        with pytest.raises(UsageError, match=message):
            read_samples(tmp_path / "x.npy", GRAY, 10, levels=levels)


def test_dark_data_may_have_dark_samples(tmp_path):
    # catches a range compared with 255 instead of with the data's
    dark = dataset("night", (1, 8, 8), 256, most=60)
    np.save(tmp_path / "x.npy", np.resize(np.arange(40, dtype=np.uint8), (10, 8, 8)))
    assert isinstance(read_samples(tmp_path / "x.npy", dark, 10), SampleSet)
    (tmp_path / "files").mkdir()
    folder = folder_of(tmp_path / "files", values_of(np.arange(40, dtype=np.uint8)))
    assert read_samples(folder, dark, 10).rows.unique().tolist() == list(range(40))


def save(path, array):
    np.savez(path, samples=array)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 4, 4, 3), np.uint8) + 9, "holds 3 samples; the protocol scores 5"),
        (np.zeros((6, 4, 4, 3), np.float32), r"float32.*np\.rint"),
        (np.zeros((6, 4, 4, 3), np.int64), "expected: uint8"),
        (np.zeros((6, 3, 4, 4), np.uint8), "channels come last"),
        (np.zeros((6, 8, 8, 3), np.uint8), r"expected: uint8 of shape \(n, 4, 4, 3\)"),
        (np.zeros((6, 4, 4), np.uint8), "expected: uint8 of shape"),
        (np.ones((6, 4, 4, 3), np.uint8), "no image holds a value above 1"),
        (np.array([None] * 6), "can't read arrays"),
        (np.zeros((), np.uint8), "expected: uint8"),
        (np.full((6, 4, 4, 3), np.nan), "expected: uint8.*NaNs or infinities"),
        (np.full((6, 4, 4, 3), np.inf, np.float16), "expected: uint8.*NaNs or infinities"),
        (np.ones((6, 4, 4, 3), bool), r"astype\(np\.uint8\) \* 255"),
        (np.full((6, 4, 4, 3), 200, np.int16), r"values 200 to 200: array\.astype"),
        (np.full((6, 4, 4, 3), -9, np.int8), "values -9 to -9: scale them"),
        (np.full((6, 4, 4, 3), -0.5), r"\(x \+ 1\) \* 127\.5"),
        (np.full((6, 4, 4, 3), 1000, np.uint16), "expected: uint8.*values 1000 to 1000: scale them"),
    ],
)
def test_unfit_arrays_are_refused_with_words(tmp_path, array, reason):
    # catches floats cast to black, channels first taken for last, pickles loaded, a score of too few
    save(tmp_path / "x.npz", array)
    with pytest.raises(UsageError) as error:
        read_samples(tmp_path / "x.npz", COLOR, 5)
    assert re.search(reason, str(error.value), re.DOTALL)


def test_files_that_are_none_are_refused_with_words(tmp_path, numbers):
    # catches a traceback out of zipfile or numpy
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    whole = tmp_path / "x.npz"
    save(whole, colored(numbers, 50))
    (tmp_path / "torn.npz").write_bytes(whole.read_bytes()[:-400])
    np.save(tmp_path / "x.npy", colored(numbers))
    (tmp_path / "short.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-10])
    np.savez(tmp_path / "two.npz", a=colored(numbers), b=colored(numbers))
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
            read_samples(tmp_path / name, COLOR, 5)


def test_a_header_that_promises_too_much_is_refused_before_it_is_believed(tmp_path):
    # catches memory taken for an array that is not there
    with open(tmp_path / "x.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 4, 4, 4)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UsageError, match="needs 64,000,000,000,"):
        read_samples(tmp_path / "x.npy", COLOR, 5)


def test_files_of_another_size_or_none_are_named(tmp_path, numbers):
    # catches a resize that moves every figure
    for k, x in enumerate(colored(numbers, 4)):
        Image.fromarray(x).save(tmp_path / f"{k}.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("<html>")
    with pytest.raises(UsageError, match="2 of 4 files") as error:
        read_samples(tmp_path, COLOR, 4)
    assert "1.png: 5x4, not 4x4" in str(error.value)
    assert "2.png: not an image" in str(error.value)
    with pytest.raises(UsageError, match="holds 4 samples; the protocol scores 5"):
        read_samples(tmp_path, COLOR, 5)


# -- what is said of them


def test_manifests_are_found_and_checked(tmp_path):
    # catches a misspelled key that is silently dropped
    save(tmp_path / "x.npz", np.zeros(1))
    assert read_manifest(None, tmp_path / "x.npz") == Manifest()
    (tmp_path / "manifest.yaml").write_text("model: EDM\nnfe: 35\nseed: 2\ntrain_seconds: 1e5\n")
    found = read_manifest(None, tmp_path / "x.npz")
    assert (found.model, found.nfe, found.seed, found.train_seconds) == ("EDM", 35, 2, 1e5)
    assert read_manifest(None, tmp_path) == found
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"nfee": 35, "parameters": -1}))
    with pytest.raises(UsageError, match="is not a manifest") as error:
        read_manifest(other, tmp_path)
    assert "nfee" in str(error.value)
    assert "parameters" in str(error.value)
    for text in ("[1]", "", "EDM"):
        other.write_text(text)
        with pytest.raises(UsageError, match="is not a manifest") as error:
            read_manifest(other, tmp_path)
        assert "expected: a mapping" in str(error.value)
    other.write_text("seed: true")
    with pytest.raises(UsageError, match="seed: a true/false where a number is expected"):
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
    loop = tmp_path / "loop.npz"
    loop.symlink_to(loop)
    assert entry_name(None, Manifest(), loop) == "loop"
    for name in ("../x", "A b", "<script>", "x" * 65):
        with pytest.raises(UsageError, match="is not a name"):
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
    with pytest.raises(Mistakes, match="'level' is not an option of scoring") as error:
        scoring_config({"data": "mnist", "level": "17"}, "flow-x")
    assert "did you mean: levels=" in str(error.value)
    with pytest.raises(NotFoundError, match=r"found no folder '\./nowhere'"):
        scoring_config({"data": "./nowhere"}, "flow-x")
    for name in ("none", "quik"):
        with pytest.raises(UsageError, match=f"no protocol '{name}'") as unknown:
            scoring_config({"data": "mnist", "protocol": name}, "flow-x")
        assert str(unknown.value).endswith("protocols: quick, standard, paper, fdd")
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
            "track.plots": False,
            "track.progress": False,
        }
    )


def test_samples_score_as_the_run_that_drew_them(histogram, tmp_path):
    # catches another protocol, another order or other levels for what comes from outside
    x = zoo_core.load(histogram.run_dir).sample(2000)
    save_samples(x, GRAY.info, tmp_path / "theirs.npz")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"nfe": 7, "parameters": 640, "paper": "arXiv:1234.5678"})
    )
    words = [str(tmp_path / "theirs.npz"), "data=digits", "eval.baselines=false", "--json"]
    done = CliRunner().invoke(score, words, catch_exceptions=False)
    found = Result.model_validate_json(done.stdout)
    theirs = histogram.scored
    assert found.protocol.hash == theirs.protocol.hash
    assert found.samples_sha256 == theirs.samples_sha256
    assert found.metrics
    for name, one in found.metrics.items():
        assert one.value == pytest.approx(theirs.metrics[name].value, rel=1e-9), name
    assert (found.family, found.plugin) == ("outside", "theirs")
    assert (found.provenance.distribution, found.provenance.distribution_version) == ("", "")
    assert (found.cost.nfe, found.cost.parameters, found.cost.train_seconds) == (7, 640, None)
    assert found.provenance.notes["paper"] == "arXiv:1234.5678"
    assert found.not_applicable["likelihood"].reason == "needs the model; these are samples alone"
    assert str(tmp_path) not in done.stdout
    assert "samples" in found.attachments


def test_other_samples_under_the_same_name_are_not_overwritten(home, tmp_path, digits):
    # catches two files named samples.npz of which one result is left
    words = ["data=digits", "eval.baselines=false", "eval.metrics=[prdc]"]
    rows = digits.train.examples(torch.arange(2000) % len(digits.train))
    for name, x in (("a", rows), ("b", rows.flip(3))):
        save_samples(x.float() / 8 - 1, GRAY.info, tmp_path / name / "samples.npz")
    run = CliRunner().invoke
    first, second = (str(tmp_path / name / "samples.npz") for name in ("a", "b"))
    assert run(score, [first, *words]).exit_code == 0
    refused = run(score, [second, *words])
    assert isinstance(refused.exception, UsageError)
    assert "--name NAME" in str(refused.exception)
    some = ["data=digits", "eval.baselines=false", "eval.metrics=[modes]"]
    assert run(score, [first, *some]).exit_code == 0  # the same samples again
    kept = list((home / "runs").rglob("result-*.json"))
    assert len(kept) == 1
    assert {"recall[digits]", "modes[digits-classifier]"} <= set(read_result(kept[0]).metrics)
    before = kept[0].read_bytes()
    assert run(score, [second, *words, "--name", "flipped"]).exit_code == 0
    assert kept[0].read_bytes() == before
    assert len(list((home / "runs").rglob("result-*.json"))) == 2
    assert run(score, [second, *words, "--replace"]).exit_code == 0
    assert kept[0].read_bytes() != before


def test_too_few_are_told_before_anything_is_scored(home, tmp_path):
    # catches FID of 100 samples in a column of 2,000
    save(tmp_path / "few.npz", np.full((100, 8, 8, 1), 200, np.uint8))
    done = CliRunner().invoke(score, [str(tmp_path / "few.npz"), "data=digits"])
    assert isinstance(done.exception, UsageError)
    assert "100 samples; the protocol scores 2,000" in str(done.exception)
    assert not list((home / "runs").rglob("*.json")) if (home / "runs").exists() else True


def test_a_reference_of_ones_own_images(home, tmp_path, numbers):
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
    assert not {"paper", "fdd"} & set(found["floors"])  # its floor is in other features
    kept = sorted((home / "stats").iterdir())
    assert kept
    again = CliRunner().invoke(stats, words, catch_exceptions=False)
    assert json.loads(again.stdout) == found
    assert "features of" not in again.stderr
    assert sorted((home / "stats").iterdir()) == kept
    text = CliRunner().invoke(stats, words[:-1], catch_exceptions=False).stdout
    assert found["sha256"] in text


def test_a_label_is_recorded_and_printed(home, tmp_path, numbers):
    # catches an option that no result and no table has
    (tmp_path / "data").mkdir()
    for k, x in enumerate(numbers.integers(0, 256, (250, 4, 4, 3), dtype=np.uint8)):
        Image.fromarray(x).save(tmp_path / "data" / f"{k:03d}.png")
    save(tmp_path / "some.npz", numbers.integers(0, 256, (2000, 4, 4, 3), dtype=np.uint8))
    words = [str(tmp_path / "some.npz"), "data=folder", f"data.path={tmp_path / 'data'}", "data.size=4"]
    words += ["data.label=numbers-4", "eval.extractor=raw", "eval.metrics=[frechet]"]
    done = CliRunner().invoke(score, words, catch_exceptions=False)
    assert "numbers-4, protocol quick" in done.output
    (file,) = (home / "runs").rglob("result-*.json")
    found = read_result(file).data
    assert (found.name, found.label, found.title) == ("folder", "numbers-4", "numbers-4")
