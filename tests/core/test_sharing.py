"""Sharing weights: what leaves, what is refused, and that a pulled run draws the pushed run's samples."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import zoo_core
from zoo_core.cli import invoke
from zoo_core.config.privacy import leak, without_paths
from zoo_core.errors import MachineError, NotFoundError, UsageError, ZooError
from zoo_core.hub import hub
from zoo_core.hub.address import Hub, parse
from zoo_core.hub.bundle import LIMITS, MANIFEST, sniff
from zoo_core.hub.card import slug
from zoo_core.hub.privacy import portable
from zoo_core.registry import index
from zoo_core.registry.manager import manager
from zoo_core.results import read_result, write_result
from zoo_core.runs import saved_config
from zoo_core.runs.exchange import pull, push, run_folder
from zoo_core.training import checkpoint

CANARY = "/home/canary-user"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run with averages whose config, comment and provenance name private folders."""
    folder = tmp_path_factory.mktemp("canary-user") / "run"
    zoo_core.run(
        plugin="wgan",
        preset="tiny",
        run_dir=str(folder),
        data={"root": f"{CANARY}/data"},
        eval={"baselines": False, "extractor_path": f"{CANARY}/x.safetensors", "extractor": "raw"},
        track={"wandb": "off", "progress": False},
    )
    record = json.loads((folder / "provenance.json").read_text())
    record["command"] = ["zoo", "run", f"data.root={CANARY}/data"]
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def shared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's bundle."""
    folder = tmp_path_factory.mktemp("shared") / "bundle"
    push(trained, str(folder), license_="CC-BY-4.0", say=lambda line: None)
    return folder


@pytest.fixture
def bundle(shared: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return Path(shutil.copytree(shared, tmp_path / "bundle"))


def sign(bundle: Path, *names: str) -> None:
    """Write a file's true sum into the manifest, as whoever makes a hostile bundle would."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    for name in names:
        data = (bundle / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def refused(bundle: Path, home: Path) -> ZooError:
    """Return why a bundle is refused; nothing of it may stay behind."""
    with pytest.raises(ZooError) as caught:
        pull(str(bundle))
    left = [path for path in home.rglob("*") if path.is_file()] if home.exists() else []
    assert left == []
    return caught.value


# -- there and back


def test_a_pulled_run_draws_the_same_bits_with_averages_and_without(
    trained: Path, shared: Path, home: Path
) -> None:
    there = pull(str(shared))
    for weights in ("ema", "raw"):
        drawn = []
        for folder in (trained, there):
            run = zoo_core.load(folder, say=lambda line: None)
            with run.harness.quiet(weights):
                drawn.append(run.recipe.sample(run.request(range(9))).x)
        assert torch.equal(*drawn), weights
    ours, theirs = (
        zoo_core.load(folder, say=lambda line: None).sample(40, seed=3) for folder in (trained, there)
    )
    assert torch.equal(ours, theirs)


def test_the_pulled_weights_are_the_scored_ones_byte_for_byte(
    trained: Path, shared: Path, home: Path
) -> None:
    there = pull(str(shared))
    wanted = json.loads((trained / "result.json").read_text())["weights_sha256"]
    found = next((there / "checkpoints").glob("step-*/weights.safetensors")).read_bytes()
    assert hashlib.sha256(found).hexdigest() == wanted


def test_a_pulled_run_is_scored_like_any_other_and_its_claims_are_no_result(shared: Path, home: Path) -> None:
    """Metrics that a third party reports must not be ranked as if they had been measured here."""
    there = pull(str(shared))
    assert not (there / "result.json").exists()
    assert json.loads((there / "reported.json").read_text())["metrics"]
    assert invoke(["eval", str(there), "eval.extractor=digits", "eval.baselines=false"]) == 0
    assert json.loads((there / "result.json").read_text())["weights_sha256"]


def test_a_pulled_run_draws_samples_of_a_class_without_its_data(home: Path, tmp_path: Path) -> None:
    for k in range(40):
        path = tmp_path / "images" / ("cat", "dog")[k % 2] / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(k).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(values).save(path)
    run = zoo_core.run(
        plugin="ddpm",
        preset="tiny",
        data={"name": "folder", "path": str(tmp_path / "images"), "size": 8, "channels": 1, "task": "class"},
        eval={"protocol": "none"},
        track={"wandb": "off", "progress": False},
    )
    wanted = zoo_core.load(run.run_dir, say=lambda line: None).sample(4, cond="dog")
    push(run.run_dir, str(tmp_path / "bundle"), say=lambda line: None)
    shutil.rmtree(tmp_path / "images")
    there = pull(str(tmp_path / "bundle"))
    assert torch.equal(zoo_core.load(there, say=lambda line: None).sample(4, cond="dog"), wanted)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one["splits"]["train"].update(count=10**12), "rows; a record has at most"),
        (lambda one: one["splits"]["train"]["label"].update(shape=[2**20, 2**20]), "in one column"),
        (lambda one: one["info"].update(shape=[1, 2**20, 2**20]), "in one example"),
        (lambda one: one["info"].update(classes="9"), "whole number"),
        (lambda one: one.pop("info"), "info"),
        (lambda one: one.update(class_names=[7]), "class_names"),
    ],
    ids=["rows", "labels", "shape", "type", "missing", "names"],
)
def test_a_hostile_record_of_data_is_refused_in_words(
    bundle: Path, home: Path, change: Callable[[Any], object], reason: str
) -> None:
    record = json.loads((bundle / "data.json").read_text())
    change(record)
    (bundle / "data.json").write_text(json.dumps(record))
    sign(bundle, "data.json")
    assert reason in str(refused(bundle, home))


def test_pulling_twice_gives_one_run_and_to_chooses_its_folder(
    shared: Path, home: Path, tmp_path: Path
) -> None:
    assert pull(str(shared)) == pull(str(shared))
    mine = pull(str(shared), tmp_path / "mine")
    assert mine == tmp_path / "mine"
    assert zoo_core.load(mine, say=lambda line: None).config.plugin == "wgan"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("a year's work")
    with pytest.raises(UsageError, match="not empty"):
        pull(str(shared), tmp_path / "full")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "a year's work"


def test_the_verbs_push_pull_and_sample_a_bundle(
    trained: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["push", str(trained), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "b")
    assert invoke(["pull", str(tmp_path / "b"), "--to", str(tmp_path / "r")]) == 0
    assert invoke(["sample", str(tmp_path / "b"), "-n", "4", "--out", str(tmp_path / "a.npz")]) == 0
    assert invoke(["sample", str(trained), "-n", "4", "--out", str(tmp_path / "c.npz")]) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    assert invoke(["push", str(trained), str(tmp_path / "b")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run_folder(str(trained)) == trained


def test_a_pulled_run_is_pushed_again_with_the_same_weights(shared: Path, home: Path, tmp_path: Path) -> None:
    push(pull(str(shared)), str(tmp_path / "again"), say=lambda line: None)
    files = [json.loads((b / MANIFEST).read_text())["files"] for b in (shared, tmp_path / "again")]
    for name in ("weights.safetensors", "raw.safetensors", "config.yaml", "state.json", "samples.png"):
        assert files[0][name] == files[1][name], name


def test_a_model_without_averages_comes_back_too(home: Path, tmp_path: Path) -> None:
    """The gaussian has buffers in float64, no stage with steps and nothing averaged."""
    zoo_core.run(
        plugin="gaussian", run_dir=str(tmp_path / "run"), eval={"protocol": "none"},
        track={"wandb": "off", "progress": False},
    )  # fmt: skip
    push(tmp_path / "run", str(tmp_path / "b"), say=lambda line: None)
    assert not (tmp_path / "b" / "raw.safetensors").exists()
    drawn = [
        zoo_core.load(folder, say=lambda line: None).sample(5)
        for folder in (tmp_path / "run", pull(str(tmp_path / "b")))
    ]
    assert torch.equal(*drawn)
    assert "not scored" in (tmp_path / "b" / "README.md").read_text()


# -- what leaves


def test_no_private_folder_leaves_in_any_file(trained: Path, shared: Path) -> None:
    assert "canary-user" in (trained / "config.yaml").read_text()
    for path in shared.iterdir():
        assert b"canary-user" not in path.read_bytes(), path.name


def test_a_secret_stops_the_push_unshown(
    trained: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    result = read_result(copy / "result.json")
    for text in ("correct-horse-battery", "hf_" + "A" * 34, "https://me:pw@host/x"):
        monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
        provenance = result.provenance.model_copy(update={"notes": {"how": f"made with {text}"}})
        write_result(result.model_copy(update={"provenance": provenance}), copy / "result.json")
        assert invoke(["push", str(copy), str(tmp_path / "b")]) == 2
        told = capsys.readouterr()
        assert "result.json" in told.err
        assert text not in told.err + told.out
        assert not (tmp_path / "b").exists()
        assert list(tmp_path.glob(".push-*")) == []


def test_weights_that_are_not_finite_and_runs_that_are_not_done_stay(
    trained: Path, home: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        push(tmp_path, str(tmp_path / "b"))
    steps = saved_config(trained).train.steps
    for name, spoil in (("nan", True), ("half", False)):
        copy = Path(shutil.copytree(trained, tmp_path / name))
        [point] = (copy / "checkpoints").glob("step-*")
        kept = checkpoint.load(point)
        shutil.rmtree(point)
        if spoil:
            next(w for w in kept.weights.values() if w.is_floating_point()).view(-1)[0] = torch.nan
        else:
            kept.state["ema"] = {"generator": [3, False]}
        checkpoint.save(copy / "checkpoints", steps, kept, {})
        with pytest.raises(UsageError, match="finite" if spoil else "not trained to its end"):
            push(copy, str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/me/images/cats", "cats"),
        ("~/images/cats/", "cats"),
        ("/home/me", "~"),
        ("run_dir=/Users/me/ x", "run_dir=~ x"),
        ("C:\\Users\\me\\cats", "cats"),
        ("file:///srv/me/x", "x"),
        ("../../me/x", "x"),
        ("data.root=/home/me/data", "data.root=data"),
        ("https://arxiv.org/abs/1701.07875", "https://arxiv.org/abs/1701.07875"),
        ("a / b, 3/4, N(0, 1), ~ x", "a / b, 3/4, N(0, 1), ~ x"),
        ("timm:vit/base", "timm:vit/base"),
    ],
)
def test_paths_are_shortened_and_nothing_else(given: str, kept: str) -> None:
    assert without_paths(given) == kept
    assert without_paths(kept) == kept


def test_the_home_folder_is_a_leak_and_hashes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/jo")
    assert leak("x=/srv/people/jo/runs") is not None
    assert leak("x=/srv/people/joanna") is None
    assert leak("commit c99e2773370192c464e2cda106a5cc0c387a55c3, sha256 " + "0" * 64) is None


def test_only_what_concerns_a_machine_is_dropped_from_a_config() -> None:
    here = {"device": "cuda:3", "run_dir": "/a/b", "track": {"project": "secret"}}
    config = {"plugin": "x", **here, "data": {"root": "/c", "path": "/me/cats"}, "model": {"width": 8}}
    assert portable(config) == {"plugin": "x", "data": {"path": "cats"}, "model": {"width": 8}}


# -- what is refused


def test_a_flipped_bit_in_any_file_is_found(bundle: Path, home: Path) -> None:
    """safetensors, JSON and PNG all load a flipped bit without a word."""
    for name in json.loads((bundle / MANIFEST).read_text())["files"]:
        data = bytearray((bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        good = (bundle / name).read_bytes()
        (bundle / name).write_bytes(data)
        error = refused(bundle, home)
        assert name in str(error)
        assert "sha256" in str(error)
        (bundle / name).write_bytes(good[:-1])
        assert name in str(refused(bundle, home))
        (bundle / name).write_bytes(good)
    assert pull(str(bundle)).is_dir()


class Evil:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


def pickles() -> Iterator[bytes]:
    for protocol in (2, 3, 4, 5):
        yield pickle.dumps(Evil(), protocol=protocol)
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    yield buffer.getvalue()
    legacy = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, legacy, _use_new_zipfile_serialization=False)
    yield legacy.getvalue()


def test_a_pickle_under_any_name_is_refused_and_never_run(bundle: Path, home: Path, tmp_path: Path) -> None:
    good = {name: (bundle / name).read_bytes() for name in LIMITS}
    for data in pickles():
        for name in LIMITS:
            (bundle / name).write_bytes(data)
            sign(bundle, name)
            assert "pickle" in str(refused(bundle, home)), name
            (bundle / name).write_bytes(good[name])
            sign(bundle, name)
    for name in ("model.pt", "a.PTH", "x.ckpt", "y.pkl", "pytorch_model.bin"):
        (bundle / name).write_bytes(b"harmless")
        assert "pickle" in str(refused(bundle, home))
        (bundle / name).unlink()
    for protocol in (0, 1):  # texts: no weights, no JSON, no YAML mapping
        for name in ("weights.safetensors", "config.yaml", "state.json", "result.json", "samples.png"):
            (bundle / name).write_bytes(pickle.dumps(Evil(), protocol=protocol))
            sign(bundle, name)
            refused(bundle, home)
            (bundle / name).write_bytes(good[name])
            sign(bundle, name)
    assert not Path("pwned").exists()
    assert pull(str(bundle)).is_dir()


def test_names_that_reach_outside_links_and_pipes_are_refused(
    bundle: Path, home: Path, tmp_path: Path
) -> None:
    manifest = (bundle / MANIFEST).read_text()
    (tmp_path / "outside").write_text("private")
    for name in ("../outside", "/etc/passwd", "a/../../outside", "notes.txt", "checkpoints/step-1/state.pt"):
        changed = json.loads(manifest)
        changed["files"][name] = {"sha256": hashlib.sha256(b"private").hexdigest(), "bytes": 7}
        (bundle / MANIFEST).write_text(json.dumps(changed))
        assert "a bundle holds only" in str(refused(bundle, home))
    (bundle / MANIFEST).write_text(manifest)
    png = bundle / "samples.png"
    kept = png.read_bytes()
    (tmp_path / "elsewhere.png").write_bytes(kept)
    png.unlink()
    png.symlink_to(tmp_path / "elsewhere.png")
    assert "link" in str(refused(bundle, home))
    png.unlink()
    os.mkfifo(png)  # opened without care it would wait for ever
    assert "regular" in str(refused(bundle, home))
    png.unlink()
    assert "missing" in str(refused(bundle, home))
    (bundle / MANIFEST).unlink()
    (bundle / MANIFEST).symlink_to(tmp_path / "outside")
    assert "link" in str(refused(bundle, home))


def test_what_is_too_large_is_refused_before_it_is_copied(bundle: Path, home: Path) -> None:
    for name in ("weights.safetensors", "config.yaml"):
        size = (bundle / name).stat().st_size
        with open(bundle / name, "r+b") as file:
            file.truncate(LIMITS[name] + 1)  # sparse: takes no space
            assert "at most" in str(refused(bundle, home)), name
            file.truncate(size)
    bundle.joinpath(MANIFEST).write_bytes(b"[" * (1 << 20))
    assert "manifest" in str(refused(bundle, home))


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "null", "{" * 100_000, '{"format": "zoo-bundle-9"}', "\xff\x00"]
)
def test_a_manifest_that_is_none_is_refused_in_words(bundle: Path, home: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text, encoding="latin-1")
    assert "manifest" in str(refused(bundle, home))


def test_hostile_configs_states_and_weights_are_refused_in_words(bundle: Path, home: Path) -> None:
    """Signed with true sums: only reading them strictly helps."""
    good = {name: (bundle / name).read_bytes() for name in LIMITS}
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    nan = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    cases = {
        "config.yaml": [
            b"!!python/object/apply:os.mkdir ['pwned']",
            b"plugin: wgan\nplugin: vae\n",
            b"just a text",
            b"plugin: [1]\n",
            good["config.yaml"] + b"surprise: 1\n",
            good["config.yaml"].replace(b"latent_dim: 8", b"latent_dim: -8"),
        ],
        "state.json": [
            b"[",
            b'{"a": NaN}',
            b'{"a": {"tensor": [1, "x"], "dtype": "uint8"}}',
            b'{"a": {"tensor": [1], "dtype": "object"}}',
        ],
        "result.json": [b"{", b'{"v": Infinity}'],
        "weights.safetensors": [
            (1 << 62).to_bytes(8, "little") + b"{}",
            len(header).to_bytes(8, "little") + header + b"\0\0\0\0",
            len(nan).to_bytes(8, "little") + nan + b"\x00\x00\xc0\x7f",
        ],
        "samples.png": [b"<html>"],
    }
    for name, texts in cases.items():
        for text in texts:
            (bundle / name).write_bytes(text)
            sign(bundle, name)
            error = refused(bundle, home)
            assert error.status == 2, (name, text[:40], error)
        (bundle / name).write_bytes(good[name])
        sign(bundle, name)
    assert not Path("pwned").exists()


def test_weights_of_another_shape_are_a_sentence_not_a_traceback(
    bundle: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (bundle / "config.yaml").read_text()
    (bundle / "config.yaml").write_text(text.replace("critic_width: 8", "critic_width: 16"))
    sign(bundle, "config.yaml")
    assert invoke(["sample", str(bundle), "-n", "2"]) == 5
    assert "do not fit" in capsys.readouterr().err


def test_a_third_party_config_cannot_point_at_files_here(bundle: Path, home: Path) -> None:
    text = (bundle / "config.yaml").read_text()
    (bundle / "config.yaml").write_text(
        text.replace("data:\n", "data:\n  root: /etc\n", 1) + "run_dir: /etc/cron.d\ndevice: cuda:7\n"
    )
    sign(bundle, "config.yaml")
    config = saved_config(pull(str(bundle)))
    assert (config.data.root, config.run_dir, config.device) == (None, None, "auto")


def test_a_plugin_that_is_not_installed_is_named_with_its_distribution(
    bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (bundle / "config.yaml").read_text()
    (bundle / "config.yaml").write_text(text.replace("plugin: wgan", "plugin: mywgan"))
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"package": "evil-typosquat"}))
    sign(bundle, "config.yaml")
    error = str(refused(bundle, home))
    assert "'mywgan'" in error
    assert "pip install" not in error  # installing what a third party names runs a third party's code
    known = (
        index.load_index().plugins[0].model_copy(update={"name": "mywgan", "package": "zoo-plugin-mywgan"})
    )
    listed = SimpleNamespace(entry=lambda name: known if name == "mywgan" else None)
    monkeypatch.setattr("zoo_core.runs.unpacking.load_index", lambda: listed)
    assert "pip install zoo-plugin-mywgan" in str(refused(bundle, home))


# -- the card


def test_the_card_is_read_back_by_the_hubs_own_library(trained: Path, shared: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(shared / "README.md").data
    result = read_result(trained / "result.json")
    assert data.license == "cc-by-4.0"
    assert data.model_name == "wgan-digits-s0"
    found = {(r.dataset_name, r.metric_type): (r.metric_value, r.metric_name) for r in data.eval_results}
    for name, one in result.metrics.items():
        value, label = found["digits", slug(name)]
        assert value == one.value
        assert result.protocol.hash in label  # a number without its protocol is not printed
    assert len(found) == len(result.metrics)


def test_the_cards_texts_keep_their_types() -> None:
    """A license, plugin or dataset called `no` or `1e3` must stay a text to a reader of YAML 1.1."""
    from zoo_core.hub.card import metadata

    config = {"plugin": "wgan", "seed": 0, "data": {"name": "digits"}}
    front = metadata(config, None, family="gan", is_image=True, license_="")
    assert "license" not in front
    assert "model-index" not in front
    assert yaml.safe_load(yaml.safe_dump(front)) == front


# -- the hub


class FakeHub:
    """Keeps commits in a folder and records calls; each must fit the real client's signature."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.calls, self.commits = workspace, [], []

    def _record(self, name: str, *args: Any, **kwargs: Any) -> None:
        from huggingface_hub import HfApi

        inspect.signature(getattr(HfApi, name)).bind(None, *args, **kwargs)
        self.calls.append((name, args, kwargs))

    def create_repo(self, *args: Any, **kwargs: Any) -> None:
        self._record("create_repo", *args, **kwargs)

    def upload_folder(self, **kwargs: Any) -> SimpleNamespace:
        self._record("upload_folder", **kwargs)
        oid = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits.append(oid)
        shutil.copytree(kwargs["folder_path"], self.workspace / oid)
        (self.workspace / oid / ".gitattributes").write_text("*.safetensors filter=lfs\n")
        return SimpleNamespace(oid=oid)

    def model_info(self, repo: str, **kwargs: Any) -> SimpleNamespace:
        self._record("model_info", repo, **kwargs)
        sha = kwargs["revision"] or self.commits[-1]
        files = [
            SimpleNamespace(rfilename=p.name, size=p.stat().st_size) for p in (self.workspace / sha).iterdir()
        ]
        return SimpleNamespace(sha=sha, siblings=files)

    def snapshot_download(self, repo: str, **kwargs: Any) -> str:
        self._record("snapshot_download", repo, **kwargs)
        for path in (self.workspace / kwargs["revision"]).iterdir():
            if path.name in kwargs["allow_patterns"]:
                shutil.copy(path, kwargs["local_dir"])
        return str(kwargs["local_dir"])


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    made = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "client", lambda: made)
    return made


def test_through_the_hub_and_back_at_a_pinned_commit(
    trained: Path, home: Path, fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    where = push(trained, "hf://someone/wgan-digits", private=True, say=lambda line: None)
    assert where == f"hf://someone/wgan-digits@{fake.commits[0]}"
    assert fake.calls[0] == ("create_repo", ("someone/wgan-digits",), {"private": True, "exist_ok": True})
    sent = {path.name for path in (fake.workspace / fake.commits[0]).iterdir()}
    assert sent == {MANIFEST, "README.md", ".gitattributes", *LIMITS}
    push(trained, "hf://someone/wgan-digits", license_="MIT", say=lambda line: None)
    (fake.workspace / fake.commits[1] / "samples.png").write_bytes(b"a later commit, and a broken one")
    there = pull(where)
    assert json.loads((there / "origin.json").read_text())["revision"] == fake.commits[0]
    name, _, asked = fake.calls[-1]
    assert (name, asked["revision"]) == ("snapshot_download", fake.commits[0])
    assert "README.md" not in asked["allow_patterns"]
    assert torch.equal(zoo_core.load(there).sample(3), zoo_core.load(trained).sample(3))
    assert invoke(["sample", where, "-n", "2"]) == 0
    assert invoke(["pull", "hf://someone/wgan-digits"]) == 5  # the newest commit is the broken one
    assert "samples.png differs" in capsys.readouterr().err
    assert invoke(["push", str(trained), where]) == 2


def test_a_listing_with_a_pickle_or_without_a_manifest_is_refused_before_anything_is_fetched(
    trained: Path, home: Path, fake: FakeHub
) -> None:
    push(trained, "hf://someone/x", say=lambda line: None)
    there = fake.workspace / fake.commits[0]
    (there / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="pickle"):
        pull("hf://someone/x")
    (there / "pytorch_model.bin").unlink()
    with open(there / "raw.safetensors", "ab") as file:
        file.truncate(LIMITS["raw.safetensors"] + 1)
    with pytest.raises(UsageError, match="at most"):
        pull("hf://someone/x")
    (there / MANIFEST).unlink()
    (there / "raw.safetensors").unlink()
    with pytest.raises(NotFoundError, match="no bundle"):
        pull("hf://someone/x")
    assert "snapshot_download" not in [name for name, _, _ in fake.calls]


def test_weights_that_the_index_pins_must_be_those(
    trained: Path, home: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = push(trained, "hf://someone/x", say=lambda line: None)
    true = hashlib.sha256((fake.workspace / fake.commits[0] / "weights.safetensors").read_bytes()).hexdigest()
    for sum_, fits in ((true, True), ("0" * 64, False)):
        pinned = SimpleNamespace(weights=[index.Weights(uri=where, sha256=sum_, data="digits")])
        monkeypatch.setattr(index, "load_index", lambda pinned=pinned: SimpleNamespace(plugins=[pinned]))
        if fits:
            assert pull(where).is_dir()
        else:
            with pytest.raises(MachineError, match=r"registry\.yaml"):
                pull(where)


def _hub_error(name: str, status: int) -> Exception:
    import httpx
    from huggingface_hub import errors

    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))
    return getattr(errors, name)("a long page of text", response=response)


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError("[Errno -2] Name or service not known"), 5, "next: with a network"),
        (TimeoutError(), 5, "next: with a network"),
        (_hub_error("RepositoryNotFoundError", 401), 2, "no such repository"),
        (_hub_error("RevisionNotFoundError", 404), 2, "no revision"),
        (_hub_error("GatedRepoError", 403), 2, "hf auth login"),
        (_hub_error("HfHubHTTPError", 403), 2, "HF_TOKEN"),
        (_hub_error("HfHubHTTPError", 500), 5, "status 500"),
    ],
)
def test_what_the_hub_raises_is_told_in_a_line_with_the_next_command(
    error: Exception, status: int, says: str, trained: Path, home: Path, fake: FakeHub,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    for name in ("create_repo", "model_info"):
        monkeypatch.setattr(fake, name, fail)
    for words in (["pull", "hf://someone/x@v1"], ["push", str(trained), "hf://someone/x"]):
        assert invoke(words) == status
        told = capsys.readouterr().err
        assert says in told
        assert "Traceback" not in told
        assert "next:" in told or "revision" in told


# -- small parts


def test_addresses() -> None:
    assert parse("hf://user/name") == Hub("user/name")
    assert parse("hf://us.er-1/na_me@v1/x") == Hub("us.er-1/na_me", "v1/x")
    assert parse("some/folder") == Path("some/folder")
    wrong = ["hf://" + text for text in ("", "name", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@-x")]
    for text in (*wrong, "hf://a /b", "hf://-a/b", "https://huggingface.co/a/b", "s3://a/b", ""):
        with pytest.raises(UsageError, match="expected"):
            parse(text)


def test_sniffing_tells_texts_from_weights() -> None:
    assert sniff(b"") == "other"
    assert sniff(b'{"step": {"a":1}}') == "other"
    assert sniff((64).to_bytes(8, "little") + b'{"w":') == "safetensors"
    assert all(sniff(data[:16]) in ("pickle", "zip") for data in pickles())


def test_listing_the_verbs_costs_neither_torch_nor_the_hubs_library() -> None:
    import subprocess
    import sys

    modules = ["cli.sharing", "hub.address", "hub.bundle", "hub.card", "hub.privacy"]
    imports = "; ".join(f"import zoo_core.{module}" for module in modules)
    code = f"import sys; {imports}; print('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert manager().failures == []
