"""The parsers under fuzz: each is a row of `table`; a new parser is one row more."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import mutations
import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parent.parent.parent
Mutation = Callable[[Random, bytes], bytes]
QUIET = {"track.wandb": "off", "track.progress": False, "track.plots": False, "eval.protocol": "none"}


@dataclass(frozen=True)
class Parser:
    """One parser, with a valid input.

    Attributes:
        name: what is read.
        seeds: relative file name -> valid contents, one of which is taken.
        mutated: file names -> how they are mutated; the other files stay valid.
        read: the parser; receives the folder with the files.
        sign: called on the folder after the mutation, to make its checksums right again.
        weight: how often it is drawn, relative to the others.
        special: whether files are also replaced by pipes, sockets, links and the like.
    """

    name: str
    seeds: Mapping[str, Sequence[bytes]]
    mutated: Mapping[str, Mutation]
    read: Callable[[Path], object]
    sign: Callable[[Path], object] = lambda folder: None
    weight: int = 4
    special: bool = True


def one(
    name: str, file: str, mutation: Mutation, read: Callable[[Path], object], *seeds: bytes, **more: Any
) -> Parser:
    """Return the parser of a single file."""
    return Parser(name, {file: seeds}, {file: mutation}, lambda folder: read(folder / file), **more)


def table(workspace: Path) -> list[Parser]:
    """Return every parser under fuzz.

    Args:
        workspace: an empty folder for the valid runs and bundles that are made first.
    """
    from zoo_core.config import strict_json, strict_yaml
    from zoo_core.data.arrays import read_array, read_headers
    from zoo_core.hub import address
    from zoo_core.registry.index import load_index
    from zoo_core.registry.resolution import parse_words, resolve, resolve_matrix
    from zoo_core.results import read_result
    from zoo_core.runs.exchange import pull
    from zoo_core.runs.unpacking import check_weights
    from zoo_core.training import checkpoint
    from zoo_core.training.harness import Harness

    run, bundle, harness = _trained(workspace)
    saved = (run / "config.yaml").read_bytes()
    points = sorted((run / "checkpoints").glob("step-*"))[-1]
    weights = (points / "weights.safetensors").read_bytes()

    def resolved(path: Path) -> object:
        words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
        return resolve_matrix(parse_words(word for word in words if word))

    def arrays(path: Path) -> object:
        return [read_array(path, name, max_bytes=1 << 20) for name in read_headers(path)]

    def addressed(path: Path) -> object:
        return address.parse(path.read_text("utf-8", "replace"))

    def restored(folder: Path) -> None:
        assert isinstance(harness, Harness)
        harness.restore(checkpoint.load(folder))

    def images(folder: Path) -> object:
        return _dataset("folder", folder)

    def pulled(folder: Path) -> Path:
        return pull(str(folder), folder.parent / "pulled")

    point_files = {path.name: [path.read_bytes()] for path in points.iterdir()}
    bundle_files = {path.name: [path.read_bytes()] for path in bundle.iterdir()}
    state = {"state.pt": mutations.of_bytes}
    tensors = dict.fromkeys(("weights.safetensors", "ema.safetensors"), mutations.of_safetensors)
    shared = {
        "config.yaml": mutations.of_yaml,
        "state.json": mutations.of_json,
        "weights.safetensors": mutations.of_safetensors,
        "provenance.json": mutations.of_json,
        "samples.png": mutations.of_image,
    }
    shared = {name: how for name, how in shared.items() if name in bundle_files}
    yaml, js, st = mutations.of_yaml, mutations.of_json, mutations.of_safetensors
    damaged = state | tensors | {"manifest.json": js}
    images_ = _images()
    return [
        one("strict YAML", "x.yaml", yaml, strict_yaml.read, saved, _registry(), b"a: [1,2.5]\n", weight=12),
        one("strict JSON", "x.json", js, strict_json.read, bundle_files["state.json"][0]),
        one(
            "saved config", "config.yaml", yaml, lambda path: resolve({"config": str(path)}), saved, weight=6
        ),
        one("command line", "words", _of_words, resolved, *_WORDS, weight=8, special=False),
        one("result", "result.json", js, read_result, _result(), weight=10),
        one(
            "address",
            "address",
            mutations.of_text,
            addressed,
            b"hf://user/name@main",
            weight=1,
            special=False,
        ),
        one("registry.yaml", "registry.yaml", yaml, load_index, _registry(), weight=2),
        one("npy array", "x.npy", mutations.of_npy, arrays, *_npy(), weight=10),
        one("npz arrays", "x.npz", mutations.of_zip, arrays, *_npz(), weight=10),
        one("metadata of weights", "weights.safetensors", st, check_weights, weights, weight=6),
        Parser("image folder", images_, dict.fromkeys(images_, mutations.of_image), images, weight=6),
        Parser("checkpoint, wrong sums", point_files, damaged, checkpoint.load, weight=3),
        Parser("checkpoint, right sums", point_files, state | tensors, restored, weight=6, sign=_sign),
        Parser("manifest of a bundle", bundle_files, {"manifest.json": js}, pulled, weight=2),
        Parser("bundle, right sums", bundle_files, shared, pulled, weight=4, sign=_sign),
        *_local(run),
        *_evaluation(run),
    ]


def _local(run: Path) -> list[Parser]:
    """Return the parsers of data and of what earlier commands have left: captions, records, caches.

    Args:
        run: folder of a trained run.
    """
    from importlib.metadata import EntryPoint

    from zoo_core.data import cache as images_cache
    from zoo_core.data import emoji, identity
    from zoo_core.events.trackers import read_metrics
    from zoo_core.registry import cache
    from zoo_core.registry.listing import list_module, to_json
    from zoo_core.registry.manager import load_entry, manager
    from zoo_core.registry.resolution import resolve
    from zoo_core.results.attachments import curves_json

    digits = load_entry("dataset", manager().find("dataset", "digits"))(resolve(["plugin=gaussian"]).data)
    entry_point = EntryPoint("fuzzed", "zoo_gan", "zoo")

    def captioned(folder: Path) -> object:
        return _dataset("captioned-folder", folder, f"data.text={folder}", "data.min_count=1")

    def listed(path: Path) -> object:
        place = cache._path(entry_point)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        try:
            found = cache.read(entry_point, "key")
            return found and to_json(found)
        finally:
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()

    def cached(folder: Path) -> object:
        entry = folder / "state"
        entry.mkdir()
        for name in ("index.json", "values.npy"):
            (folder / name).rename(entry / name)
        found = images_cache.read(folder, "state")
        return found and found[1] is not None and found[1][:2].sum()

    def recorded(path: Path) -> None:
        identity.stored(path.parent, lambda: digits)
        identity.check(path.parent, digits)

    def logged(path: Path) -> object:
        return curves_json(read_metrics(path))

    def shipped(path: Path) -> object:
        emoji.FILES = path.parent
        found = emoji.read(path.stem)
        return emoji.tokenizer(found.rows)

    listing = json.dumps({"key": "key", "installed": [], "listing": to_json(list_module("zoo_gan"))}).encode()
    images = {f"{k}.png": _images()[f"0{k}.png"] for k in range(2)}
    texts = {f"{k}.txt": [b"A red bird.\nIt is a small bird, said to be red.\n"] for k in range(2)}
    values = io.BytesIO()
    np.save(values, np.zeros((3, 1, 8, 8), dtype=np.uint8))
    index = {"state": "state", "values": True, "shape": [3, 1, 8, 8]}
    entry = {"index.json": [json.dumps(index).encode()], "values.npy": [values.getvalue()]}
    return [
        Parser("captions", images | texts, dict.fromkeys(texts, _of_captions), captioned),
        one("cached listing", "x.json", mutations.of_json, listed, listing),
        Parser("cached images", entry, {"index.json": mutations.of_json, "values.npy": mutations.of_npy},
            cached, weight=3),
        one("record of data", identity.RECORD, mutations.of_json, recorded,
            (run / identity.RECORD).read_bytes()),
        one("metrics.jsonl", "x.jsonl", _of_lines, logged, (run / "metrics.jsonl").read_bytes(), weight=3),
        one("archive of images", "x.zip", mutations.of_zip, shipped, _archive(), weight=3, special=False),
    ]  # fmt: skip


def _of_captions(rng: Random, valid: bytes) -> bytes:
    """Mutate text or bytes, or write very long lines and very many."""
    kind = rng.randrange(4)
    if kind == 0:
        return mutations.of_bytes(rng, valid)
    if kind == 1:
        unit = rng.choice((b"a bird\n", b"bird ", b"\n", b"a-", b"'a", b"a\xcc\x81"))
        return (unit * rng.choice((10, 1_500, 400_000)))[: mutations.LARGEST]
    return mutations.of_text(rng, valid)


def _of_lines(rng: Random, valid: bytes) -> bytes:
    """Mutate one line of a file of JSON lines, or its text as a whole."""
    lines = valid.splitlines()
    if rng.random() < 0.3:
        return mutations.of_text(rng, valid)
    place = rng.randrange(len(lines))
    lines[place] = mutations.of_json(rng, lines[place])
    return b"\n".join(lines)


def _archive() -> bytes:
    """Return a small archive of images and their index, as those that are shipped."""
    from PIL import Image

    sheet, file = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((32, 64, 3), dtype=np.uint8)).save(sheet, "WEBP", lossless=True)
    with zipfile.ZipFile(file, "w") as archive:
        rows = [{"name": name, "code": name, "category": "Flags", "test": False} for name in ("a b", "c")]
        archive.writestr("index.json", json.dumps({"rows": rows}))
        archive.writestr("sheet.webp", sheet.getvalue())
    return file.getvalue()


def _evaluation(run: Path) -> list[Parser]:
    """Return the parsers of zoo_eval: of samples from outside, of weights, and of what stands beside a
    result.

    Args:
        run: folder of a trained run.
    """
    import hashlib

    from zoo_core.registry.manager import load_entry, manager
    from zoo_core.registry.resolution import resolve
    from zoo_core.results import Attachment, Result
    from zoo_core.results.attachments import attachment_of
    from zoo_eval.extractors.fetching import read_weights
    from zoo_eval.sample_files import read_samples
    from zoo_eval.samples import read_manifest
    from zoo_eval.store import states
    from zoo_eval.store.files import collect
    from zoo_eval.store.media import curves, sample_grid
    from zoo_eval.submission import submission, write_submission

    digits = load_entry("dataset", manager().find("dataset", "digits"))(resolve(["plugin=gaussian"]).data)
    result = Result.model_validate_json(_result())

    def attached(folder: Path) -> object:
        found = {}
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.stat().st_size > 4 << 20:
                continue
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            named = path.rename(path.with_name(f"{path.stem}-{sha256[:12]}{path.suffix}"))
            size = max(1, named.stat().st_size)
            found[path.stem] = Attachment(file=named.name, sha256=sha256, size=size)
        whole = result.model_copy(update={"attachments": found})
        return curves(whole, folder), sample_grid(whole, folder)

    def handed_in(folder: Path) -> object:
        return write_submission(submission(folder, lambda line: None), folder / "result-out.json")

    pickled, tensors = io.BytesIO(), {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
    torch.save(tensors, pickled)
    media = {"curves.json": [b'{"train/loss": [[0, 1.5], [10, 0.5]]}'], "samples.png": _images()["00.png"]}
    verdict = json.dumps(
        {"state": "audited", "file_sha256": "a" * 64, "findings": [], "training": {"executed": [0, 3]}}
    ).encode()
    file = io.BytesIO()
    np.savez(file, samples=np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8))
    how = {"curves.json": mutations.of_json, "samples.png": mutations.of_image}
    saved = {name: [(run / name).read_bytes()] for name in ("data.json", "provenance.json")}
    curves_file = attachment_of("curves", media["curves.json"][0], "json")
    whole = result.model_copy(update={"attachments": {"curves": curves_file}})
    text = whole.model_dump_json(by_alias=True).encode()
    submitted = {"result.json": [text], curves_file.file: media["curves.json"], **saved}
    return [
        one("samples from outside", "x.npz", mutations.of_zip, lambda path: read_samples(path, digits, 8),
            file.getvalue(), weight=6),
        one("results of a leaderboard", "result.json", mutations.of_json, lambda path: collect([path.parent]),
            _result()),
        Parser("attachments of a result", media, how, attached),
        Parser("submission", submitted, dict.fromkeys(submitted, mutations.of_json), handed_in, weight=6),
        one("archive of weights", "w.pth", mutations.of_zip, lambda path: read_weights(path),
            pickled.getvalue(), weight=6),
        one("manifest of samples", "manifest.yaml", mutations.of_yaml,
            lambda path: read_manifest(path, path.parent), b"model: a\nparameters: 3\nnotes: b\n", weight=3),
        one("verdict", "v.json", mutations.of_json, lambda path: states._strength(path, "a" * 64), verdict,
            weight=2),
    ]  # fmt: skip


def _trained(workspace: Path) -> tuple[Path, Path, object]:
    """Return the folder of a run in the middle of its training, a bundle, and a harness to restore."""
    import zoo_core
    from zoo_core.runs.exchange import push

    zoo_core.run(
        {"plugin": "wgan", "preset": "tiny", "run_dir": str(workspace / "whole"), "train.steps": 2}
        | {"train.checkpoint_every": 1, "train.ema.decay": 0.9}
        | QUIET
    )
    push(workspace / "whole", str(workspace / "bundle"), say=lambda line: None)
    shutil.copytree(workspace / "whole", workspace / "run")
    for path in sorted((workspace / "run" / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(
            path
        )  # the first checkpoint has optimizers and moments; that of a finished run has none
    made = zoo_core.load(workspace / "run", say=lambda line: None)
    return workspace / "run", workspace / "bundle", made.harness


def _sign(folder: Path) -> None:
    """Write the true sums of a bundle's or a checkpoint's files into its manifest."""
    import hashlib

    document = json.loads((folder / "manifest.json").read_bytes())
    sums = document.get("sha256", document.get("files"))
    for name in sums:
        path = folder / name
        if not path.is_file() or path.is_symlink() or path.stat().st_size > mutations.LARGEST * 2:
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        sums[name] = digest if "sha256" in document else {"sha256": digest, "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(document))


def _dataset(name: str, folder: Path, *more: str) -> object:
    from zoo_core.registry.manager import load_entry, manager
    from zoo_core.registry.resolution import resolve

    words = [f"plugin=gaussian data={name}", f"data.path={folder}", "data.size=8", "data.holdout=0.25"]
    config = resolve([*" ".join(words).split(" "), *more])
    return load_entry("dataset", manager().find("dataset", name))(config.data)


def _registry() -> bytes:
    return (REPOSITORY / "registry.yaml").read_bytes()


def _result() -> bytes:
    from zoo_core.results import Result
    from zoo_core.results.result import fields_hash

    fields = {"data": "digits", "data_sha256": "a" * 64, "n_generated": 2000, "extractor": "digits"}
    result = Result.model_validate(
        {
            "plugin": "wgan", "family": "gan", "seed": 0, "config_hash": "a" * 12, "samples_sha256": "b" * 64,
            "config": {"train.steps": 2, "optim.betas": [0.5, 0.9], "data.name": "digits"},
            "data": {"name": "digits", "sha256": "a" * 64},
            "protocol": {"name": "quick", "version": 3, "hash": fields_hash(fields), "fields": fields},
            "metrics": {"FD[digits]": {"value": 1.5, "interval": {"low": 1.0, "high": 2.0}, "n": 2000}},
            "not_applicable": {"bits/dim": {"reason": "no likelihood"}},
            "cost": {"train_seconds": 1.0, "updates": {"main/critic": 4}},
        }
    )  # fmt: skip
    return result.model_dump_json(by_alias=True).encode()


def _npy() -> list[bytes]:
    found = []
    for array in (
        np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
        np.ones((5, 2), ">f8"),
        np.zeros((0, 3), "f4"),
    ):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return found


def _npz() -> list[bytes]:
    stored, deflated = io.BytesIO(), io.BytesIO()
    np.savez(stored, samples=np.ones((4, 2), np.float32))
    np.savez_compressed(
        deflated, samples=np.arange(400, dtype=np.uint8).reshape(4, 10, 10), labels=np.arange(4)
    )
    return [stored.getvalue(), deflated.getvalue()]


def _images() -> dict[str, list[bytes]]:
    from PIL import Image

    rng = np.random.default_rng(0)
    made: dict[str, list[bytes]] = {}
    for number, (format_, mode) in enumerate(
        [("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
         ("GIF", "P"), ("WEBP", "RGB"), ("BMP", "RGB"), ("TIFF", "RGB"), ("PPM", "RGB")]
    ):  # fmt: skip
        levels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(levels)
        image = (
            Image.fromarray(levels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        )
        file = io.BytesIO()
        image.save(file, format_)
        suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(format_, format_.lower())
        made[f"{number:02d}.{suffix}"] = [file.getvalue()]
    return made


_WORDS = (
    b"plugin=wgan\npreset=tiny\ntrain.steps=3\noptim.generator.lr=1e-4",
    b"plugin=ddpm\ndata=digits\nsampler=ddim\nsampler.eta=0.5\nsample.steps=10",
    b"plugin=gaussian\ndata=ring\nseed=0,1\ndevice=cpu",
    b"plugin=vae\ntrain.ema.decay=0.9\ntrack.project=zoo\neval.protocol=none\neval.extractor=none",
    b"plugin=wgan\noptim.generator.betas=[0.5, 0.9]\noptim.generator.lr_mult={generator.mapping: 0.01}",
)
_KEYS = (
    "seed", "device", "preset", "run_dir", "data", "data.root", "data.name", "data.path", "train",
    "train.batch_size",
    "train.ema", "sample.steps", "sampler.name", "sampler.eta", "eval.iwae_k", "eval.extractor_path",
    "model.width",
    "optim.generator.betas", "optim.generator.lr_mult", "optim.generator.lr_mult.a.b.c", "__class__",
    "_target_",
    "a.b.__init__.__globals__", "plugin.x", ".", "..", ".a", "a.", "plugin", "PLUGIN", "data..name",
    "train.steps.x",
    "", "\u202eseed", "model_config", "model_fields", "PRESETS", "config", "resume",
)  # fmt: skip


def _of_words(rng: Random, valid: bytes) -> bytes:
    """Replace keys and values of overrides, add overrides, or mutate the text; at most two comma lists."""
    words = valid.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(words))
        key, _, text = words[place].partition("=")
        kind = rng.randrange(4)
        if kind == 0:
            words[place] = f"{key}={mutations.text(rng)}"
        elif kind == 1:
            words[place] = f"{rng.choice(_KEYS)}={text}"
        elif kind == 2:
            words.append(f"{rng.choice(_KEYS)}={mutations.text(rng)}")
        else:
            return mutations.of_text(rng, "\n".join(words).encode("utf-8", "surrogatepass"))
    return "\n".join(words).encode("utf-8", "surrogatepass")[: 1 << 16]
