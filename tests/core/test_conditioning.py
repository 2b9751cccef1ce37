"""What a run models, and the conditions of its samples: chosen, drawn, typed, and evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo_core
from zoo_core.cli import invoke
from zoo_core.config import DataConfig, RunConfig, before_later, flatten, nest
from zoo_core.data.conditioning import choose_task, conditions, grid_conditions, read_conditions
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import Dataset
from zoo_core.data.toy import load as load_toy
from zoo_core.errors import UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import NOT_IN_HASH, config_hash, plain, resolve
from zoo_core.runs import build, load_data
from zoo_core.training.recipe import Recipe, Stage
from zoo_core.types import Cond, SampleRequest, Samples

DIGITS = load_digits(DataConfig())
ROLL = load_toy(DataConfig(name="swiss-roll"))
RING = load_toy(DataConfig(name="ring"))


class Echo(Recipe):
    """Draws a image whose gray says which class it was asked for."""

    def stages(self) -> Sequence[Stage]:
        return [Stage("none")]

    def sample(self, request: SampleRequest) -> Samples:
        assert request.cond is not None
        assert request.cond.label is not None
        gray = request.cond.label.float() / 8 - 1  # level k of 17
        return Samples(gray[:, None, None, None].expand(-1, 1, 8, 8))


def run_of(dataset: Dataset, task: str, batch_size: int = 7) -> Any:
    """Return an untrained run of `Echo` with a task."""
    config = resolve(["plugin=vq-vae", "preset=tiny", f"data.task={task}", f"sample.batch_size={batch_size}"])
    made = build(config, dataset, Path(), manager(), say=print, warn=print)
    made.recipe = Echo()
    made.harness.recipe = made.recipe
    return made


def test_what_a_dataset_serves_is_what_it_holds() -> None:
    # catches classes said of data without labels
    assert DIGITS.tasks == ("unconditional", "class", "text", "caption", "paired", "unpaired", "views")
    assert RING.tasks == ("unconditional", "class")
    assert ROLL.tasks == ("unconditional",)
    for entry in manager().entries("dataset"):
        if entry.spec.name in ("digits", "ring", "swiss-roll", "moons"):
            made = load_data(RunConfig(data=DataConfig(name=entry.spec.name)))
            assert set(made.tasks) == set(entry.spec.tasks)


@pytest.mark.parametrize(
    ("dataset", "wanted", "tasks", "chosen"),
    [
        (DIGITS, "", ("text", "unconditional"), "text"),
        (DIGITS, "", ("unconditional", "text"), "unconditional"),
        (RING, "", ("text", "unconditional", "class"), "unconditional"),
        (ROLL, "", ("text", "class", "unconditional"), "unconditional"),
        (DIGITS, "class", ("unconditional", "class"), "class"),
    ],
)
def test_a_run_takes_the_first_of_its_models_tasks_that_the_data_serve(
    dataset: Dataset, wanted: str, tasks: Sequence[str], chosen: str
) -> None:
    # catches the data's order taken for the model's
    assert choose_task(dataset, wanted, tasks, "some", []) == chosen


def test_a_task_that_can_not_be_is_told_with_data_that_can() -> None:
    words = ["preset=tiny", "eval.protocol=none"]
    with pytest.raises(UsageError) as error:
        zoo_core.run(resolve(["plugin=vq-vae", "data=ring", "data.task=text", *words]))
    assert "'ring' can't serve the task text" in str(error.value)
    assert "it serves: unconditional, class" in str(error.value)
    assert "digits" in str(error.value).split("datasets that can:")[1]
    assert "swiss-roll" not in str(error.value).split("datasets that can:")[1]
    with pytest.raises(UsageError, match="can't model it") as error:
        zoo_core.run(resolve(["plugin=wgan", "data=digits", "data.task=text", *words]))
    assert "data.task=unconditional" in str(error.value)


def test_the_recipe_sees_the_task_of_its_run() -> None:
    # catches a task that stays behind in the config
    for task in ("", "class", "text", "unconditional"):
        made = run_of(DIGITS, task)
        assert made.data.info.task == (task or "unconditional")
        assert made.harness.data.info.task == made.data.info.task


def test_a_task_left_to_the_model_changes_no_hash() -> None:
    # catches results made before there were tasks losing their runs
    usual, told = resolve(["plugin=vae"]), resolve(["plugin=vae", "data.task=unconditional"])
    assert config_hash(usual) != config_hash(told)
    later = before_later(type(usual))
    kept = {
        key: value
        for key, value in flatten(plain(usual)).items()
        if key not in later and not any(f"{key}.".startswith(f"{name}.") for name in NOT_IN_HASH)
    }
    text = json.dumps(nest(kept), sort_keys=True, separators=(",", ":"))
    assert config_hash(usual) == hashlib.sha256(text.encode()).hexdigest()[:12]


def labeled(task: Any) -> Dataset:
    return DIGITS.for_task(task)


def test_conditions_are_those_of_training_rows() -> None:
    # catches captions of one image with the label of another, and classes all equally often
    assert conditions(DIGITS, 5) is None
    cond = conditions(labeled("text"), 4000)
    assert cond is not None
    assert cond.label is not None
    assert cond.tokens is not None
    pairs = {(int(c), *t) for c, t in zip(DIGITS.train.label, DIGITS.train.tokens.tolist(), strict=True)}  # type: ignore[attr-defined, arg-type]
    assert {(int(c), *t) for c, t in zip(cond.label, cond.tokens.tolist(), strict=True)} <= pairs
    ring = RING.for_task("class")
    found = conditions(ring, 8000)
    assert found is not None
    assert found.label is not None
    share = torch.bincount(found.label, minlength=8) / 8000
    real = torch.bincount(ring.train.label, minlength=8) / len(ring.train)  # type: ignore[arg-type]
    assert float((share - real).abs().max()) < 4.5 * (0.125 * 0.875 / 8000) ** 0.5


@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 100])
def test_a_condition_depends_on_its_place_alone(n: int) -> None:
    # catches a stream of conditions that another number of samples changes
    whole, part = conditions(labeled("class"), 500), conditions(labeled("class"), n)
    assert whole is not None
    assert part is not None
    assert torch.equal(whole.label[:n], part.label)  # type: ignore[index, arg-type]


def test_samples_of_a_conditional_run_are_of_the_conditions_of_training() -> None:
    # catches batches that each start the conditions again, and an offset that is not counted
    made = run_of(DIGITS, "class")
    asked = conditions(made.data, 40)
    assert asked is not None
    rows = torch.cat([drawn.rows for drawn in made.draw(40)])
    assert torch.equal(rows[:, 0, 0, 0].long(), asked.label)
    rows = torch.cat([drawn.rows for drawn in made.draw(10, start=30)])
    assert torch.equal(rows[:, 0, 0, 0].long(), asked.label[30:])  # type: ignore[index]
    assert made.request([5, 9]).cond.label.tolist() == asked.label[[5, 9]].tolist()  # type: ignore[index]


def levels(x: Tensor) -> list[int]:
    return ((x[:, 0, 0, 0] + 1) * 8).round().long().tolist()


def test_samples_are_of_what_was_typed() -> None:
    made = run_of(DIGITS, "class")
    assert levels(made.sample(5, cond="3")) == [3] * 5
    assert levels(made.sample(5, cond="3, 7")) == [3, 7, 3, 7, 3]
    assert levels(made.sample(9, cond=Cond(label=torch.arange(9)))) == list(range(9))


def test_a_grid_has_a_class_a_column() -> None:
    # catches rows and columns changed about
    columns, cond = grid_conditions(labeled("class"), 8)
    assert columns == 10
    assert cond is not None
    assert cond.label is not None
    assert torch.equal(cond.label.view(8, 10), torch.arange(10).expand(8, 10))
    columns, cond = grid_conditions(labeled("text"), 2)
    assert cond is not None
    assert cond.tokens is not None
    tokenizer = DIGITS.tokenizer
    assert tokenizer is not None
    said = [tokenizer.decode(row.tolist()) for row in cond.tokens]
    assert said[:10] == said[10:]
    assert said[:10] == [f"a{'n' * (w == 'eight')} {w}" for w in tokenizer.words[-10:]]
    assert grid_conditions(DIGITS, 8) == (8, None)


@pytest.mark.parametrize(
    ("text", "task", "told"),
    [
        ("3", "unconditional", "task is 'unconditional'"),
        ("12", "class", "expected: 0 to 9, or one of 0, 1,"),
        ("-1", "class", "expected: 0 to 9"),
        ("three", "class", "no class 'three'"),
        ("3,,4", "class", "no class ''"),
        ("a thre", "text", "did you mean: three for thre"),
    ],
)
def test_a_condition_that_can_not_be_is_told(text: str, task: Any, told: str) -> None:
    with pytest.raises(UsageError) as error:
        read_conditions(text, labeled(task), 4)
    assert told in str(error.value)


def test_classes_are_typed_by_name_or_by_number() -> None:
    named = Dataset(
        RING.for_task("class").info, RING.train, RING.test, "", class_names=[f"blob {k}" for k in range(8)]
    )
    cond = read_conditions("blob 5,6", named, 3)
    assert cond.label is not None
    assert cond.label.tolist() == [5, 6, 5]
    with pytest.raises(UsageError, match="did you mean: cond=blob"):
        read_conditions("blb 5", named, 1)


@pytest.mark.parametrize(
    ("text", "labels"),
    [("tea, green", [0]), ("'tea, green',coffee", [0, 1]), ("coffee,'tea, green'", [1, 0]), ("coffee", [1])],
)
def test_a_class_named_with_a_comma_can_be_asked_for(text: str, labels: list[int]) -> None:
    names = ["tea, green", "coffee", *(f"blob {k}" for k in range(6))]
    named = Dataset(RING.for_task("class").info, RING.train, RING.test, "", class_names=names)
    cond = read_conditions(text, named, None)
    assert cond.label is not None
    assert cond.label.tolist() == labels


def test_a_number_is_the_name_of_a_numbered_class() -> None:
    """Catches cond=0 that draws the folder `1`."""
    names = [str(k) for k in range(1, 9)]
    named = Dataset(RING.for_task("class").info, RING.train, RING.test, "", class_names=names)
    assert read_conditions("8", named, 1).label.tolist() == [7]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="expected: one of 1, 2"):
        read_conditions("0", named, 1)


def test_the_command_line_draws_what_is_asked_for(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A captioned model, trained for a moment, from the words of a command line to a file."""
    words = ["preset=tiny", "eval.protocol=none", "track.wandb=off", "track.progress=false", "train.steps=10"]
    assert invoke(["run", "plugin=dvae", "run_dir=here", *words]) == 0
    assert (tmp_path / "here" / "plots" / "samples.png").exists()
    assert invoke(["sample", "here", "cond=a three,a thin seven", "-n", "8", "--out", "grid.png"]) == 0
    from PIL import Image

    assert Image.open("grid.png").size[0] < Image.open("grid.png").size[1]  # two columns, four rows
    for word, told in (
        ("cond=a wibbly three", "wibbly"),
        ("codn=a three", "can't sample with codn="),
        ("a three", "can't read 'a three'"),
        ("steps=3", "expected: cond="),
    ):
        capsys.readouterr()
        assert invoke(["sample", "here", word]) == 2
        assert told in capsys.readouterr().err
