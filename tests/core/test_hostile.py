"""Files that anyone may have made: each is read or refused in one sentence, and none hangs or runs code."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo_core
from zoo_core.config import strict_json, strict_yaml
from zoo_core.errors import MachineError, NotFoundError, UsageError, ZooError
from zoo_core.machine.files import read_bounded
from zoo_core.registry.resolution import resolve
from zoo_core.results import Result, read_result, write_result
from zoo_core.results.files import LARGEST_FILE, parse_result
from zoo_core.results.result import fields_hash
from zoo_core.runs.job import resume
from zoo_core.training import checkpoint

# -- YAML


@pytest.mark.parametrize(
    "text",
    [
        "a: !!timestamp 2020-99-99", "a: !!timestamp x", "a: !!binary x", "a: !!set {a, b}",
        "a: !!omap [b: 1]",
        "a: !!bool maybe", "a: !!int [1]", "a: !!int {b: 1}", "a: !!float x", "a: !!map [1]",
        "a: !!seq {b: 1}",
        "a: !!str {b: 1}", "a: !!null x", "a: !!python/name:os.getcwd", "a: !<x> y", "a: ! x\n? [1]\n: 2",
        "!!python/object/apply:os.mkdir [zoo_hostile]", "&a [*a]", "a: &b {c: *b}", "a: *b", "[", "]",
        "{a: [1}", "a: 'x",
        "a: 1\na: 2", "? {a: 1}\n: 2", "--- a\n--- b", "%YAML 9.9\n---\na", "a: \x00", "\ud800",
        "a: " + "9" * 30,
        "a: " + "9" * 5000, "[" * 65 + "]" * 65, "[" * 100_000, "[a, " * 20_000,
        "x: [" + "1, " * 11_000 + "]",
        "a: &a [" + "*b, " * 5 + "]", "k: &k 1\nv: [" + "*k, " * 101 + "]", "x" * (strict_yaml.MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_yaml_that_is_not_plain_bounded_data_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        strict_yaml.parse(text, "x")
    assert len(str(error.value)) < 600
    assert not Path("zoo_hostile").exists()


def test_aliases_are_counted_with_all_that_they_repeat() -> None:
    """Nine lines of nine aliases each are 81 aliases, and 9^10 values for whoever walks over them."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10)]
    with pytest.raises(UsageError, match=r"repeats? too much"):
        strict_yaml.parse("\n".join(lines), "x")
    chain = ["a0: &a0 [x]"] + [f"a{k}: &a{k} [*a{k - 1}]" for k in range(1, 70)]  # deep, and small
    with pytest.raises(UsageError, match=r"repeats? too much"):
        strict_yaml.parse("\n".join(chain), "x")
    assert strict_yaml.parse("a: &a [1, 2]\nb: [*a, *a]", "x") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_plain_yaml_keeps_its_types() -> None:
    text = "a: no\nb: 1e-4\nc: 12:30:00\nd: 010\ne: ~\nf: !!str 1\ng: !!float 2\nh: [true, '', .5]\n1: x"
    assert strict_yaml.parse(text, "x") == {
        "a": "no", "b": 1e-4, "c": "12:30:00", "d": 10, "e": None, "f": "1", "g": 2.0, "h": [True,
        "", 0.5], 1: "x",
    }  # fmt: skip
    assert strict_yaml.parse("", "x") is None


@pytest.mark.parametrize("text", ["[1, 2", "{a: 1", "[&a x, *b]", "[!!binary x]", "[" * 500, "{a: 1, a: 2}"])
def test_lists_and_mappings_typed_as_options_are_read_as_strictly(text: str) -> None:
    with pytest.raises(ZooError, match="lr_mult"):
        resolve(["plugin=wgan", f"optim.generator.lr_mult={text}"])


# -- JSON and results


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "]", "nan", "[NaN]", "[Infinity]", "[1e999]", "[" + "9" * 30 + "]", "[" + "9" * 5000 + "]",
        '{"a": 1, "a": 2}',
        "[" * 65 + "]" * 65, "[" * 200_000, '["\\ud800"]', '{"\\ud800": 1}', "\ufeff{}", "'a'", "[1,]",
        "{} {}",
    ],
)  # fmt: skip
def test_json_that_is_not_strict_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as error:
        strict_json.loads(text)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def _document(rng: random.Random, depth: int = 0) -> str:
    """Return JSON in which keys repeat, colons stand in strings, and spaces stand anywhere they may."""

    def gap() -> str:
        return rng.choice(["", "", "", " ", "\n", "\t "]) if spaced else ""

    spaced = rng.random() < 0.5
    kind = rng.randrange(4 if depth < 3 else 2)
    if kind == 0:
        return rng.choice(["1", "-2.5", "true", "null"])
    if kind == 1:
        return rng.choice(['":"', '"a"', '" :"', '"\\":"', '"\\\\"', '""', '":a:"'])
    parts = [_document(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return f"[{gap()}" + f"{gap()},{gap()}".join(parts) + f"{gap()}]"
    keys = [rng.choice(['"a"', '"b"', '"\\u0061"', '":"', '"\\":"', '"c "', '""']) for _ in parts]
    pairs = [f"{key}{gap()}:{gap()}{part}" for key, part in zip(keys, parts, strict=True)]
    return f"{{{gap()}" + f"{gap()},{gap()}".join(pairs) + f"{gap()}}}"


def test_a_key_twice_is_found_however_a_document_is_written() -> None:
    # catches a count of keys that spaces, escapes or colons in strings make equal by chance
    rng = random.Random(0)
    outcomes = []
    for _ in range(20_000):
        text = _document(rng)
        repeated = []

        def seen(pairs: list[tuple[str, object]], repeated: list[bool] = repeated) -> dict[str, object]:
            repeated.append(len(dict(pairs)) < len(pairs))
            return dict(pairs)

        json.loads(text, object_pairs_hook=seen)
        outcomes.append(any(repeated))
        expected = pytest.raises(ValueError, match="duplicate key") if any(repeated) else nullcontext()
        with expected:
            strict_json.check_keys(text.encode())
    assert 1_000 < sum(outcomes) < 19_000


def test_a_space_before_a_colon_hides_no_repeated_key() -> None:
    for space in (" ", "\t", "\n", "\r"):
        with pytest.raises(ValueError, match="duplicate key 'a'"):
            strict_json.check_keys(f'{{"a":1,"a":2,"b"{space}:":"}}'.encode())


def test_strict_json_is_read_as_json_does() -> None:
    text = '{"a": [1, 2.5, null, true, "é\\n"], "b": {"c": -18446744073709551616}}'
    assert strict_json.loads(text) == json.loads(text)
    assert strict_json.loads(text.encode()) == json.loads(text)


@pytest.fixture
def result() -> Result:
    fields = {"data": "digits", "data_sha256": "a" * 64}
    return Result.model_validate(
        {
            "plugin": "wgan", "family": "gan", "seed": 0, "config_hash": "a" * 12, "samples_sha256": "b" * 64,
            "data": {"name": "digits", "sha256": "a" * 64},
            "protocol": {"name": "quick", "version": 3, "hash": fields_hash(fields), "fields": fields},
            "metrics": {"FD[digits]": {"value": 1.5}},
        }
    )  # fmt: skip


def test_a_result_with_a_key_twice_or_a_huge_number_is_refused(result: Result, tmp_path: Path) -> None:
    write_result(result, tmp_path / "result.json")
    assert read_result(tmp_path / "result.json").metrics == result.metrics
    text = result.model_dump_json(by_alias=True)
    assert parse_result(text.encode()) == result
    for old, new in (
        ('"seed":0', '"seed":0,"seed":1'),
        ('"value":1.5', '"value":9,"value":1.5'),
        ('"value":1.5', '"value":1e308'),
        ('"value":1.5', '"value":1e999'),
        ('"value":1.5', '"value":NaN'),
        ('"seed":0', '"seed":' + "9" * 5000),
        ('"seed":0', '"seed":' + "[" * 5000),
        ('"plugin":"wgan"', '"plugin":"wg\u0430n"'),
        ('"plugin":"wgan"', '"plugin":["wgan"]'),
        ('"schema":2', '"schema": 1 '),
    ):
        assert old in text
        with pytest.raises(ValueError) as error:
            parse_result(text.replace(old, new, 1).encode())
        assert len(str(error.value)) < 400
    with pytest.raises(ValueError, match="at most"):
        parse_result(b" " * LARGEST_FILE + text.encode())


# -- what is not a regular file


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "pipe": _pipe,
    "socket": _socket,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_no_reader_waits_for_a_pipe_or_reads_a_device(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    REPLACEMENTS[kind](path)
    for read in (strict_yaml.read, strict_json.read, read_result, lambda path: read_bounded(path, 100)):
        with pytest.raises(UsageError):
            read(path)
    with pytest.raises(NotFoundError):
        read_bounded(tmp_path / "absent", 100)


def test_a_file_of_the_system_without_content_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback: a file that has nothing to read now reads as None, as a log of the kernel can."""

    class Waiting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return None  # type: ignore[return-value]  # what FileIO returns where a read would block

    (tmp_path / "x").touch()
    monkeypatch.setattr("zoo_core.machine.files.open_regular", lambda path, **how: Waiting(path))
    with pytest.raises(UsageError, match="has no content now"):
        read_bounded(tmp_path / "x", 100)


# -- checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    zoo_core.run(
        plugin="wgan", preset="tiny", run_dir=str(folder), train={"steps": 2}, eval={"protocol": "none"},
        track={"wandb": "off", "progress": False, "plots": False},
    )  # fmt: skip
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def _point(run: Path) -> Path:
    [point] = (run / "checkpoints").glob("step-*")
    return point


def _sign(point: Path) -> None:
    manifest = json.loads((point / checkpoint.MANIFEST).read_text())
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256((point / name).read_bytes()).hexdigest()
    (point / checkpoint.MANIFEST).write_text(json.dumps(manifest))


def _as_double(point: Path) -> None:
    weights = load_file(point / "weights.safetensors")
    save_file({name: tensor.double() for name, tensor in weights.items()}, point / "weights.safetensors")


def _one_less(point: Path) -> None:
    weights = load_file(point / "weights.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, point / "weights.safetensors")


def _stated(*keys: str, value: object) -> Callable[[Path], object]:
    """Return what sets one entry of a checkpoint's state."""

    def change(point: Path) -> None:
        state = torch.load(point / "state.pt", weights_only=True)
        inner = state
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        torch.save(state, point / "state.pt")

    return change


CONTENTS: dict[str, Callable[[Path], object]] = {
    "weights of another type": _as_double,
    "a weight less": _one_less,
    "weights are a text": lambda point: (point / "weights.safetensors").write_bytes(b"hello"),
    "weights are empty": lambda point: (point / "weights.safetensors").write_bytes(b""),
    "header of 2^62 bytes": lambda point: (point / "weights.safetensors").write_bytes(
        (1 << 62).to_bytes(8, "little")
    ),
    "state is a text": lambda point: (point / "state.pt").write_bytes(b"hello"),
    "state is a list": lambda point: torch.save([1], point / "state.pt"),
    "state is empty": lambda point: torch.save({}, point / "state.pt"),
    "state of other types": lambda point: torch.save(
        {"counts": 3, "ema": [], "rngs": None}, point / "state.pt"
    ),
    "a negative step": _stated("counts", "total", value=-5),
    "a step that is a text": _stated("counts", "step", value="3"),
    "half a step": _stated("counts", "total", value=4.5),
    "a step beyond the last": _stated("counts", "step", value=99),
    "a stage beyond the last": _stated("counts", "stage", value=7),
    "the stage before the first": _stated("counts", "stage", value=-1),
    "no number of images": _stated("counts", "images", value=float("nan")),
    "images as a text": _stated("counts", "images", value="9"),
    "negative seconds": _stated("counts", "seconds", value=-1.0),
    "updates of a text": _stated("counts", "updates", value={"a": "x"}),
    "no place in the data": _stated("drawn", value=None),
    "a place in the data as a text": _stated("drawn", value="x"),
    "a place between two examples": _stated("drawn", value=2.5),
    "a place before the first example": _stated("drawn", value=-7),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_right_sums_of_wrong_content_are_one_sentence(run: Path, kind: str) -> None:
    CONTENTS[kind](_point(run))
    _sign(_point(run))
    with pytest.raises(MachineError):
        zoo_core.load(run, say=lambda line: None)


@pytest.mark.parametrize("other", [{"seed": 1}, {"plugin": "vae"}, {"data": "mnist"}], ids=str)
def test_a_checkpoint_of_another_run_is_refused(run: Path, other: dict[str, str | int]) -> None:
    """Catches weights of another seed, or other data, that are trained on and scored as this run's."""
    path = _point(run) / checkpoint.MANIFEST
    manifest = json.loads(path.read_text())
    assert manifest["run"] == {"plugin": "wgan", "data": "digits", "seed": 0}
    path.write_text(json.dumps({**manifest, "run": manifest["run"] | other}))
    [(key, value)] = other.items()
    with pytest.raises(MachineError, match=f"another run: {key}={value}, not {manifest['run'][key]}"):
        zoo_core.load(run, say=lambda line: None)
    (run / "run.json").unlink()  # not finished
    with pytest.raises(MachineError, match="another run"):
        resume(run)
    del manifest["run"]  # of a version that did not record it
    path.write_text(json.dumps(manifest))
    assert zoo_core.load(run, say=lambda line: None).config.seed == 0


def test_a_pipe_in_a_run_stops_no_resume(run: Path) -> None:
    """Catches a process that waits for a reader, without a word."""
    for name in ("metrics.jsonl", "run.json"):
        (run / name).unlink()
        os.mkfifo(run / name)
    shutil.rmtree(run / "checkpoints")  # trained, and so logged, again
    resume(run)
    (run / ".lock").unlink()
    os.mkfifo(run / ".lock")
    with pytest.raises(MachineError, match="can't make"):
        resume(run)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sha256": {}}', '{"sha256": []}', '{"sha256": 3}', "[" * 999]
)
def test_a_manifest_that_lists_less_than_the_files_verifies_nothing(run: Path, text: str) -> None:
    (_point(run) / checkpoint.MANIFEST).write_text(text)
    with pytest.raises(MachineError):
        checkpoint.verify(_point(run))


def test_a_pipe_in_a_checkpoint_does_not_block(run: Path) -> None:
    for name in checkpoint.FILES:
        kept = (_point(run) / name).read_bytes()
        (_point(run) / name).unlink()
        os.mkfifo(_point(run) / name)
        with pytest.raises(MachineError, match="regular"):
            checkpoint.verify(_point(run))
        (_point(run) / name).unlink()
        (_point(run) / name).write_bytes(kept)
    checkpoint.verify(_point(run))


def test_a_duplicate_among_many_keys_is_found_at_once():
    """Catches a search that is quadratic: 30,000 keys took 89 seconds."""
    keys = ", ".join(f'"{k}": 0' for k in range(30_000))
    with pytest.raises(ValueError, match="duplicate key '7'"):
        strict_json.loads("{" + keys + ', "7": 1}')
