"""The command line end to end: statuses, messages, runs that repeat, resume and are read again."""

from __future__ import annotations

import errno
import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo_core.cli import invoke
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_core.viz.plots import save_folder, to_uint8

FAST = ["preset=tiny", "eval.protocol=none", "track.wandb=off", "track.plots=false"]


def test_a_mistake_costs_two_and_shows_no_traceback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "plugin=wgan", "train.steps=abc", "model.latnt_dim=3"]) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 2
    assert "did you mean: model.latent_dim=3" in told
    assert "Traceback" not in told
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["rnu"], 2, "did you mean: zoo run"),
        (["run"], 2, "plugin=NAME"),
        (["run", "wgan"], 2, "key=value"),
        (["run", "wgan"], 2, "did you mean: plugin=wgan"),
        (["run", "WGAN"], 2, "did you mean: plugin=wgan"),
        (["run", "ddim"], 2, "did you mean: sampler=ddim"),
        (["run", "--plugin", "wgan", "--seed=3"], 2, "did you mean: zoo run plugin=wgan seed=3"),
        (["run", "--dry-run", "--plugin=wgan"], 2, "did you mean: zoo run --dry-run plugin=wgan"),
        (["run", "--model", "wgan", "--batch-size", "8"], 2, "zoo run plugin=wgan train.batch_size=8"),
        (["run", "plugin=WGAN"], 2, "did you mean: plugin=wgan"),
        (["run", "plugin=wgan_gp"], 2, "did you mean: plugin=wgan-gp"),
        (["run", "plugin=wgan", "batch_size=32"], 2, "did you mean: train.batch_size=32"),
        (["run", "plugin=vae", "lr=0.1"], 2, "did you mean: optim.net.lr=0.1"),
        (["run", "plugin=wgan", "lr=0.1"], 2, "did you mean: optim.critic.lr=0.1"),
        (["run", "plugin=wgan", "epochs=5"], 2, "steps = epochs * images / train.batch_size"),
        (["run", "plugin=wgan", "data=."], 2, "did you mean: data=folder data.path=."),
        (["run", "--rerun", "resume=x"], 2, "one of them"),
        (["sample", "nowhere", "--out", "a.gif"], 2, ".png or .npz"),
        (["sample", "nowhere", "--out", "/proc/nowhere/a.png"], 5, "another place"),
        (["new", "thing", "--dir", "/proc/nowhere"], 5, "/proc/nowhere"),
        (["run", "plugin=wgan", "seed=1", "seed=2"], 2, "twice"),
        (["run", "resume=nowhere"], 2, "no run in"),
        (["run", "resume=x", "seed=1"], 2, "resume= continues a run with its own options"),
        (["run", "config=nowhere.yaml"], 2, "nowhere.yaml"),
        (["run", "plugin=wgan", "device=cuda:99"], 5, "device=cpu"),
        (["run", "plugin=wgan", "device=potato"], 2, "potato"),
        (["run", "plugin=wgan", "sampler=heun"], 2, "leave sampler out"),
        (["sample", "nowhere"], 2, "no run in"),
        (["show", "wgn"], 2, "wgan"),
        (["sample", ""], 2, "argument 2 is empty"),
        (["sample", "x", "--out", ""], 2, "argument 4 is empty"),
        (["sample", "x" * 300], 2, "too long"),
        (["leaderboard", "x" * 300], 2, "expected: the path of a file or folder"),
        (["export", "x"], 2, "'--to'. Choose from: state_dict, pt2"),
        (["sample", "x", "seed=3"], 2, "did you mean: --seed 3"),
        (["run", "plugin=vae", "data=nowhere/images"], 2, "found no folder 'nowhere/images'"),
    ],
)
def test_each_mistake_has_its_status_and_its_next_step(
    words: list[str], status: int, told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(words) == status
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err


LISTINGS = ["list", "plugins", "samplers", "datasets", "metrics", "extractors", "doctor"]


@pytest.mark.parametrize("verb", LISTINGS)
def test_every_listing_speaks_json(verb: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([verb, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_show_tells_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["show", "wgan"]) == 0
    told = capsys.readouterr().out
    for expected in ("model.clip=0.01", "arXiv:1701.07875", "preset=paper", "train.steps="):
        assert expected in told
    options = told.partition("\n\n")[2].splitlines()  # NAME=DEFAULT  (TYPE), then its meaning, indented
    assert all(re.match(r" {4}\S|[\w.]+=", line) for line in options)


def test_a_dry_run_prints_a_config_that_repeats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "plugin=wgan", "train.steps=7", "track.progress=false", "--dry-run"]) == 0
    text = capsys.readouterr().out
    Path("saved.yaml").write_text(text)
    assert invoke(["run", "config=saved.yaml", "--dry-run"]) == 0
    assert capsys.readouterr().out == text
    assert not (home / "runs").exists()


def test_a_run_is_repeated_by_its_config_and_read_when_done(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "plugin=wgan", *FAST]
    assert invoke([*words, "run_dir=first", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert invoke(["run", "config=first", "run_dir=second", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["weights_sha256"] == second["weights_sha256"]
    assert first["config_hash"] == second["config_hash"]
    assert invoke([*words, "run_dir=first", "--json"]) == 0
    captured = capsys.readouterr()
    assert "already done" in captured.err
    assert json.loads(captured.out) == first
    assert json.loads((Path("first") / "run.json").read_text())["state"] == "finished"
    records = [json.loads(line) for line in (Path("first") / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == sorted({record["step"] for record in records})
    assert first["provenance"]["versions"]["torch"] == version("torch")


def test_another_config_in_the_same_folder_is_refused_by_its_differences(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=here"]) == 0
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=here", "model.clip=0.5"]) == 2
    assert "model.clip: 0.01 there, 0.5 asked for" in capsys.readouterr().err


def test_a_folder_without_its_config_is_not_continued(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches weights of an unknown run that are trained further, and files of the user that are replaced."""
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=here"]) == 0
    Path("here/config.yaml").unlink()
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=here", "optim.critic.lr=0.3"]) == 2
    assert "here holds checkpoints, metrics.jsonl and no config.yaml" in capsys.readouterr().err
    Path("own").mkdir()
    Path("own/metrics.jsonl").write_text("mine")
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=own"]) == 2
    assert Path("own/metrics.jsonl").read_text() == "mine"


def test_what_is_not_a_run_names_the_run_that_was_meant(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a run's own checkpoint refused as another's bundle, and advice that leads in a circle."""
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=here"]) == 0
    step = next(Path("here/checkpoints").glob("step-*"))
    for path in (step, step.parent, Path("here/config.yaml")):
        assert invoke(["sample", str(path)]) == 2
        assert "did you mean: here, the run that this is in" in capsys.readouterr().err
        assert invoke(["run", "plugin=wgan", *FAST, f"init={path}", "run_dir=other"]) == 2
        assert "did you mean: here, the run that this is in" in capsys.readouterr().err
    assert invoke(["sample", "her"]) == 2
    assert str(Path("here").absolute()) in capsys.readouterr().err
    assert invoke(["run", "resume=here", "run_dir=there"]) == 2
    assert "resume=RUN train.steps=N run_dir=FOLDER" in capsys.readouterr().err
    shutil.rmtree("here/checkpoints")
    assert invoke(["sample", "here"]) == 5
    told = capsys.readouterr().err
    assert "a finished run whose checkpoints are gone" in told
    assert "resume=" not in told
    assert invoke(["run", "config=here", "run_dir=here", "--rerun"]) == 0  # as it says
    assert invoke(["sample", "here", "-n", "1"]) == 0


def test_a_home_directory_in_an_option_is_the_users(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a folder named "~": a shell replaces it at the beginning of a word only."""
    monkeypatch.setenv("HOME", str(Path("user").absolute()))
    assert invoke(["run", "plugin=wgan", *FAST, "run_dir=~/here"]) == 0
    assert not Path("~").exists()
    assert Path("user/here/config.yaml").is_file()
    capsys.readouterr()
    assert invoke(["run", "resume=~/here"]) == 0
    assert "already done" in capsys.readouterr().err
    assert invoke(["run", "config=~/here", "init=~/here", "run_dir=there"]) == 0
    assert invoke(["sample", "~/here", "-n", "1"]) == 0


def test_a_model_too_large_for_the_machine_is_not_its_plugins_fault(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", "plugin=vae", *FAST, "model.latent_dim=1e12", "run_dir=here"]) == 5
    told = capsys.readouterr().err
    assert "error: out of memory" in told
    assert "plugin" not in told


def test_a_finished_run_is_made_again_on_demand_and_told_what_has_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a result of other code, or of another device, that is shown as if it were this command's."""
    words = ["run", "plugin=noise", "data=ring", *FAST[1:], "run_dir=here"]
    assert invoke(words) == 0
    capsys.readouterr()
    assert invoke([*words, "track.project=mine", "train.log_every=7"]) == 0  # neither changes the result
    told = capsys.readouterr().err
    assert "already done" in told
    assert "note:" not in told
    assert invoke([*words, "device=cuda:99"]) == 5
    assert invoke([*words, "seed=4", "train.log_every=7"]) == 2
    told = capsys.readouterr().err
    assert "seed: 0 there, 4 asked for" in told
    assert "log_every" not in told
    path = Path("here/provenance.json")
    record = json.loads(path.read_text())
    code = record["plugin_code"]
    assert code["distribution"] == "genzoo"
    for changed, note in (
        ({"plugin_code": {**code, "version": "0.0.1"}}, "genzoo was 0.0.1"),
        ({"plugin_code": {**code, "sha256": "0" * 64}}, "sources of genzoo have changed"),
        ({"hardware": {**record["hardware"], "device": "NVIDIA H100"}}, "trained on NVIDIA H100"),
    ):
        path.write_text(json.dumps({**record, **changed}))
        assert invoke([*words, "device=cpu"]) == 0
        told = capsys.readouterr().err
        assert told.count("note:") == 1
        assert note in told
        assert "--rerun" in told
    path.write_text("[]")
    assert invoke(words) == 0
    assert invoke([*words, "--rerun"]) == 0
    assert "kept in here.before-1" in capsys.readouterr().err
    assert Path("here.before-1/run.json").exists()
    assert json.loads(path.read_text())["plugin_code"] == code


def test_completion_knows_plugins_data_and_options(home: Path) -> None:
    """As zsh and fish ask, with the whole word, and as bash does, which splits words at "="."""
    from click import Context

    from zoo_core.cli.completion import complete
    from zoo_core.cli.running import run

    def ask(*words: str) -> list[str]:
        context = Context(run)
        context.params["words"] = words[:-1]
        return complete(context, next(p for p in run.params if p.name == "words"), words[-1])

    assert "plugin=wgan-gp" in ask("plugin=wg")
    assert "data=digits" in ask("data=di")
    assert ask("plugin=wgan,vae,dd") == ["plugin=wgan,vae,ddpm"]
    assert ask("plug") == ["plugin="]
    assert "train.batch_size=" in ask("train.ba")
    assert ask("plugin=wgan", "model.cl") == ["model.clip="]
    assert ask("plugin", "=", "wgan", "model.cl") == ["model.clip="]
    assert "wgan-gp" in ask("plugin", "=", "wg")
    assert "wgan" in ask("plugin", "=")
    assert ask("track.wandb=of") == ["track.wandb=offline", "track.wandb=off"]
    assert ask("train.compile=t") == ["train.compile=true"]
    assert "preset=tiny" in ask("plugin=wgan", "preset=")
    assert ask("plugin=no-such", "model.") == []
    assert ask("nonsense=") == []


def test_a_matrix_does_every_run_and_tells_the_first_bad_status(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(["run", "plugin=wgan,noise", "seed=0,1", "preset=tiny,default", "--dry-run"]) == 2
    capsys.readouterr()
    assert invoke(["run", "plugin=noise,histogram", "seed=0,1", *FAST[1:]]) == 0
    states = [json.loads(path.read_text()) for path in (home / "runs" / "digits").glob("*/*/run.json")]
    assert [record["state"] for record in states] == ["finished"] * 4
    assert invoke(["run", "plugin=noise,histogram", "seed=9", "device=cuda:99", *FAST[1:]]) == 5


def test_samples_are_written_as_a_grid_and_as_numbers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    assert invoke(["run", "plugin=histogram", *FAST[1:], "run_dir=here"]) == 0
    assert invoke(["sample", "here", "-n", "9", "--out", "grid.png"]) == 0
    assert invoke(["sample", "here", "-n", "9", "--out", "numbers.npz"]) == 0
    assert np.load("numbers.npz")["samples"].shape == (9, 8, 8, 1)
    assert np.load("numbers.npz")["samples"].dtype == np.uint8
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")
    assert invoke(["sample", "here", "--out", "grid.gif"]) == 2
    assert ".png or .npz" in capsys.readouterr().err


def test_samples_of_two_seeds_are_two_files_and_never_mix(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches one file for two seeds, and a folder that holds the images of two commands."""
    from zoo_core.cli.running import _default_name

    assert invoke(["run", "plugin=histogram", *FAST[1:], "run_dir=here"]) == 0
    capsys.readouterr()
    paths = []
    for seed in ("1", "2"):
        assert invoke(["sample", "here", "-n", "4", "--seed", seed]) == 0
        paths.append(Path(capsys.readouterr().out.strip()))
    assert paths[0].read_bytes() != paths[1].read_bytes()
    assert invoke(["sample", "here", "-n", "4", "--out", "folder"]) == 0
    kept = {path: path.read_bytes() for path in Path("folder").iterdir()}
    assert len(kept) == 4
    assert invoke(["sample", "here", "-n", "3", "--seed", "1", "--out", "folder"]) == 2
    assert "folder is not empty" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("folder").iterdir()} == kept
    assert len({_default_name(4, 0, cond, {}) for cond in (None, "3", "5", "a b", "a-b")}) == 5


@pytest.mark.parametrize(
    "option", [["--dry-run"], ["--launcher", "local"], ["--slots", "2"], ["--resource", "partition=gpu"]]
)
def test_a_resume_takes_no_option_that_it_would_ignore(
    option: list[str], home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a dry run that trains."""
    resumed: list[object] = []
    monkeypatch.setattr("zoo_core.runs.job.resume", resumed.append)
    assert invoke(["run", "resume=there", *option]) == 2
    assert "next: zoo run config=RUN/config.yaml run_dir=RUN" in capsys.readouterr().err
    assert resumed == []


def test_a_folder_with_files_is_refused_before_anything_is_drawn(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("zoo_core.load", lambda *words, **_: loaded.append(words))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.png").touch()
    assert invoke(["sample", "here", "--out", str(tmp_path / "full")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert loaded == []


def test_samples_of_alike_names_are_a_file_each(tmp_path: Path) -> None:
    """Catches a/b.png, a-b.png, a-b.jpg and A-B.png written over one another."""
    names = ["a/b.png", "a-b.png", "a-b.jpg", "A-B.png", "c.png"]
    values = torch.linspace(-1, 1, 9)
    x = values[:, None, None, None].expand(9, 1, 4, 4)
    save_folder(x, DataInfo("digits", (1, 4, 4), 256), tmp_path, names)
    found = {path.name: Image.open(path).getpixel((0, 0)) for path in tmp_path.iterdir()}
    assert len({name.lower() for name in found}) == 9
    assert sorted(found.values()) == to_uint8(x)[:, 0, 0, 0].tolist()
    assert (found["a-b.png"], found["c.png"]) == (0, int(to_uint8(x)[4, 0, 0, 0]))


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device")])
def test_faults_of_the_machine_cost_five_and_show_no_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("zoo_core.cli.running.resolve_matrix", fail)
    assert invoke(["run", "plugin=wgan"]) == 5
    told = capsys.readouterr().err
    assert told.startswith("error: out of memory" if isinstance(error, MemoryError) else "error: No space")
    assert "next:" in told
    assert "Traceback" not in told


def test_python_says_what_the_command_line_says(home: Path) -> None:
    import zoo_core

    result = zoo_core.run(
        plugin="histogram", eval={"protocol": "none"}, track={"wandb": "off", "plots": False}
    )
    run = zoo_core.load(result.run_dir)
    drawn = run.sample(16)
    assert drawn.shape == (16, 1, 8, 8)
    assert float(drawn.min()) >= -1
    assert float(drawn.max()) <= 1
    assert torch.equal(drawn, run.sample(16))
    assert not torch.equal(drawn, run.sample(16, seed=1))


def test_a_bundle_is_loaded_by_its_address(home: Path, tmp_path: Path) -> None:
    """Catches `zoo_core.load` that takes less than `zoo sample` does."""
    import zoo_core

    config = {"plugin": "histogram", "eval.protocol": "none", "track.wandb": "off", "run_dir": "here"}
    made = zoo_core.load(zoo_core.run(config).run_dir)
    assert invoke(["push", "here", "bundle"]) == 0
    assert torch.equal(zoo_core.load("bundle").sample(4), made.sample(4))
    with pytest.raises(UsageError, match="address on the hub"):
        zoo_core.load("hf://nothing")
