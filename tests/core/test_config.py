"""Typed configuration: texts are read by their field's type, and every mistake is told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from zoo_core.config import (
    Config,
    RunConfig,
    before_later,
    comma_list,
    flatten,
    later,
    nest,
    options,
    strict_yaml,
    type_name,
    validate,
)
from zoo_core.errors import Mistakes, UsageError, ZooError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import MAX_RUNS, config_hash, parse_words, plain, resolve, resolve_matrix

PLUGINS = [entry.spec.name for entry in manager().entries("plugin")]


class Inner(Config):
    """A section."""

    width: int = 8
    """Width."""
    rate: float | None = None
    """Rate."""
    names: tuple[float, float] = (0.0, 1.0)
    """Two numbers."""
    on: bool = False
    """A switch."""
    text: str = "a"
    """A text."""


class Outer(Config):
    """A config."""

    inner: Inner = Inner(width=9)
    """Section."""
    count: int = 3
    """An option of no section."""


def read(key: str, value: Any) -> Any:
    made, mistakes = validate(Outer, {f"inner.{key}": value}, "a test")
    assert not mistakes, mistakes
    assert made is not None
    return getattr(made.inner, key)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width", "1e4", 10000),
        ("width", "12", 12),
        ("rate", "5e-5", 5e-5),
        ("rate", "none", None),
        ("names", "[0.5,0.9]", (0.5, 0.9)),
        ("on", "yes", True),
        ("on", "false", False),
        ("text", "no", "no"),
        ("text", "1e3", "1e3"),
        ("text", "none", "none"),
    ],
)
def test_a_text_is_read_by_the_type_of_its_field(key: str, text: str, value: Any) -> None:
    assert read(key, text) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", "abc"),
        ("width", True),
        ("width", "1.5"),
        ("rate", "nan"),
        ("rate", "1e999"),
        ("names", "[1]"),
        ("on", 3),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(key: str, value: Any) -> None:
    made, mistakes = validate(Outer, {f"inner.{key}": value}, "a test")
    assert made is None
    assert len(mistakes) == 1
    assert f"'inner.{key}'" in mistakes[0].what
    assert any(note.startswith("expected:") for note in mistakes[0].notes)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("inner.width", True, "a true/false"),
        ("inner.names", "[1, 2", "not readable YAML"),
        ("count", True, "a true/false"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_option(key: str, value: Any, reason: str) -> None:
    """Catches the first option of its section named instead, or the whole config shown as its value."""
    made, mistakes = validate(Outer, {"inner.on": "true", key: value}, "a test")
    assert made is None
    assert mistakes[0].what == f"bad value for '{key}': {value!r}"
    assert any(reason in note for note in mistakes[0].notes)
    assert "unicode string" not in str(mistakes[0])


def test_one_value_of_a_list_is_answered_with_the_list() -> None:
    with pytest.raises(Mistakes, match=r"did you mean: eval\.metrics=\[prdc\]"):
        resolve(["plugin=vae", "eval.metrics=prdc"])


def test_several_runs_in_one_folder_are_refused() -> None:
    """Catches a first run that is trained before the second one finds its folder taken."""
    with pytest.raises(UsageError, match="2 runs are asked for, and run_dir=here is one folder"):
        resolve_matrix(["plugin=vae", "seed=0,1", "run_dir=here"])
    assert len(resolve_matrix(["plugin=vae", "run_dir=here,there"])) == 2


def test_a_preset_is_not_looked_for_in_an_unknown_model() -> None:
    with pytest.raises(Mistakes) as caught:
        resolve(["plugin=vaee", "preset=tiny"])
    assert len(caught.value.mistakes) == 1


def test_a_section_keeps_the_defaults_of_the_class_that_holds_it() -> None:
    """Catches an overlay that rebuilds the section from its own class's defaults."""
    made, _ = validate(Outer, {"inner.on": "true"}, "a test")
    assert made is not None
    assert made.inner.width == 9
    assert dict(options(Outer))["inner.width"].default == 9


def test_all_mistakes_of_a_line_are_told_together() -> None:
    with pytest.raises(Mistakes) as caught:
        resolve(["plugin=wgan", "train.steps=abc", "model.latnt_dim=3", "data=mnst", "sampler=dimm"])
    text = str(caught.value)
    for expected in (
        "train.steps",
        "did you mean: model.latent_dim=3",
        "did you mean: data=mnist",
        "sampler=ddim",
    ):
        assert expected in text
    assert len(caught.value.mistakes) == 4


def test_an_unknown_plugin_names_the_nearest() -> None:
    with pytest.raises(Mistakes, match="did you mean: plugin=wgan"):
        resolve(["plugin=wgn"])


@pytest.mark.parametrize(
    "hostile", ["__class__=1", "a.b.__init__.__globals__=x", "model.__class__=1", "_target_=os.system"]
)
def test_a_key_is_only_ever_an_option(hostile: str) -> None:
    with pytest.raises(Mistakes, match="unknown option"):
        resolve(["plugin=wgan", hostile])


def test_words_without_equals_and_repeated_keys_are_refused() -> None:
    with pytest.raises(Mistakes) as caught:
        parse_words(["plugin", "seed=1", "seed=2"])
    assert len(caught.value.mistakes) == 2


def test_comma_lists_make_a_matrix_in_written_order() -> None:
    runs = resolve_matrix(["plugin=wgan,noise", "seed=0,1,2"])
    assert [(r.plugin, r.seed) for r in runs] == [(p, s) for p in ("wgan", "noise") for s in (0, 1, 2)]
    assert comma_list.split("[0.5,0.9]") == ["[0.5,0.9]"]
    assert comma_list.split("'a,b'") == ["a,b"]
    assert [r.optim.critic.lr for r in resolve_matrix(["plugin=wgan", "optim.critic.lr=1e-4,2e-4"])] == [
        1e-4,
        2e-4,
    ]
    with pytest.raises(UsageError, match="6 runs"):
        resolve(["plugin=wgan,noise", "seed=0,1,2"])


@pytest.mark.parametrize("name", PLUGINS)
def test_a_saved_config_resolves_to_itself(name: str, tmp_path: Any) -> None:
    """Every registered plugin: what is written with a run repeats it, to the last digit."""
    config = resolve([f"plugin={name}", "seed=3"])
    path = tmp_path / "config.yaml"
    path.write_text(strict_yaml.dump(plain(config)))
    again = resolve([f"config={path}"])
    assert plain(again) == plain(config)
    assert config_hash(again) == config_hash(config)


@pytest.mark.parametrize("name", PLUGINS)
def test_every_section_of_every_plugin_forbids_unknown_keys_and_tells_each_option(name: str) -> None:
    config = load_entry("plugin", manager().find("plugin", name), "config")
    assert issubclass(config, RunConfig)

    def walk(section: type[Config]) -> None:
        assert section.model_config.get("extra") == "forbid", section
        for field in section.model_fields.values():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, Config):
                walk(inner)

    walk(config)
    untold = [key for key, info in options(config) if not info.description]
    assert not untold


@pytest.mark.parametrize("name", PLUGINS)
def test_every_preset_of_every_plugin_resolves_and_is_sourced(name: str) -> None:
    config = load_entry("plugin", manager().find("plugin", name), "config")
    fitted = config.model_fields["train"].default.steps == 0
    assert fitted or "tiny" in config.PRESETS
    for key, preset in config.PRESETS.items():
        assert preset.source
        bare, _, kind = key.partition("@")
        kinds = {"points": "ring", "image<=16": "digits", "image<=48": "cifar10", "caption": "digits"}
        data = kinds.get(kind, kind)
        words = (
            [f"plugin={name}"]
            + ([f"data={data}"] if data else [])
            + ([f"data.task={kind}"] if kind == "caption" else [])
            + ([f"preset={bare}"] if bare != "default" else [])
        )
        flat = flatten(plain(resolve(words)))
        for option, value in flatten(dict(preset.overrides)).items():
            found = flat[option] if option in flat else flat[f"{option}.name"]
            assert str(found) == str(list(value) if isinstance(value, tuple) else value)


def test_the_hash_is_of_what_decides_the_model() -> None:
    base = resolve(["plugin=wgan"])
    assert config_hash(base) == config_hash(
        resolve(["plugin=wgan", "seed=7", "device=cpu", "track.wandb=off"])
    )
    for change in ("train.steps=2", "model.clip=0.02", "data=moons", "optim.critic.lr=1e-4", "sampler=heun"):
        assert config_hash(base) != config_hash(resolve(["plugin=wgan", change]))


def test_a_label_of_a_folder_moves_no_hash() -> None:
    """Catches a run that is trained again because its data are called otherwise in tables."""
    words = ["plugin=wgan", "data=folder", "data.path=x"]
    assert config_hash(resolve(words)) == config_hash(resolve([*words, "data.label=cifar10-jpeg"]))
    with pytest.raises(ZooError, match="label"):
        resolve(["plugin=wgan", "data.label=mine"])


def test_flatten_and_nest_are_inverse() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": {}}
    assert nest(flatten(nested)) == nested


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: 5e-5", 5e-5),
        ("x: 1e4", 1e4),
        ("x: no", "no"),
        ("x: 12:30:00", "12:30:00"),
        ("x: true", True),
        ("x: 010", 10),
    ],
)
def test_yaml_scalars_are_those_of_version_1_2(text: str, value: Any) -> None:
    assert strict_yaml.parse(text, "test") == {"x": value}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "a: 1\na: 2",
        "[" * 3000,
        "a: &a [1]\nb: [" + "*a," * 200 + "]",
        "a: [1",
        "? [1, 2]\n: 3",
        "x: " + "y" * (1 << 21),
        "a: \x00",
    ],
)
def test_hostile_yaml_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError):
        strict_yaml.parse(text, "test")


def test_yaml_texts_survive_a_round_trip() -> None:
    document = {
        "a": ["no", "1e3", "true", "null", "~", "", "0", "1_0", "12:30"],
        "b": {"c": 1e-5, "d": None, "e": True},
    }
    assert strict_yaml.parse(strict_yaml.dump(document), "test") == document


def test_an_option_of_a_sampler_that_is_not_named():
    """Catches advice that leads nowhere: the samplers that have the option are told."""
    told = r"sampler\.eta needs a sampler that has it: sampler=ddim sampler\.eta=1"
    with pytest.raises(Mistakes, match=told):
        resolve(["plugin=ddpm", "sampler.eta=1"])
    assert resolve(["plugin=ddpm", "sampler=ddim", "sampler.eta=1"]).sampler.eta == 1


class Choices(Config):
    """Options that take one of a few values."""

    channels: Literal[1, 3] = 3
    """Numbers."""
    flag: Literal[True, "auto"] = "auto"
    """A boolean or a text."""
    maybe: Literal[2, 4] | None = None
    """Numbers, or none."""


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("channels", "1", 1),
        ("channels", " 3 ", 3),
        ("channels", "1.0", 1),
        ("flag", "true", True),
        ("flag", "auto", "auto"),
        ("maybe", "4", 4),
        ("maybe", "none", None),
    ],
)
def test_a_choice_of_numbers_takes_their_text(key: str, text: str, value: Any) -> None:
    made, mistakes = validate(Choices, {key: text}, "a test")
    assert made is not None, mistakes
    assert getattr(made, key) == value
    assert type(getattr(made, key)) is type(value)


@pytest.mark.parametrize(
    ("key", "value"), [("channels", "2"), ("channels", True), ("channels", "true"), ("maybe", "x")]
)
def test_a_choice_of_numbers_takes_nothing_else(key: str, value: Any) -> None:
    made, mistakes = validate(Choices, {key: value}, "a test")
    assert made is None
    assert len(mistakes) == 1


def test_every_option_with_a_choice_of_numbers_is_had_from_the_command_line() -> None:
    assert resolve(["plugin=vae", "data=folder", "data.channels=1"]).data.channels == 1


BOMB = (
    "{a: &a [x,x,x,x,x,x,x,x,x], "
    + ", ".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "}"
)
NESTED: list[Any] = ["x"] * 9
for _ in range(8):
    NESTED = [NESTED] * 9
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    "given",
    [
        ["plugin=wgan", f"optim.critic.lr_mult={BOMB}"],
        ["plugin=wgan", "optim.critic.lr_mult=&a {x: *a}"],
        ["plugin=wgan", "optim.critic.lr_mult={x: &a [*a]}"],
        ["plugin=wgan", f"data.name={BOMB}"],
        {"plugin": "wgan", "eval": {"extractor": NESTED}},
        {"plugin": "wgan", "train": {"steps": NESTED}},
        {"plugin": "wgan", "more": NESTED},
        {"plugin": "wgan", "more": RECURSIVE},
        ["plugin=wgan", "optim.critic.betas=[0.5,0.9"],
        ["plugin=wgan", "optim.critic.betas=0.5],0.9"],
        ["plugin=wgan", "optim.critic.betas=" + "[" * 5000],
        ["plugin=wgan", "optim.critic.betas=[" + "1," * 60_000 + "1]"],
        ["plugin=wgan", "seed='0,1"],
        ["plugin=wgan", "train.steps={a: 1}"],
        ["plugin=wgan", "preset=[a]"],
        ["plugin=[a]"],
        ["plugin=wgan", "optim.critic.lr_mult=3", "optim.critic.lr_mult.x=2"],
        ["plugin=wgan", "data=moons", "data.name.x=1"],
        ["config=" + "x" * 5000],
        {"plugin": ["wgan"]},
        {"plugin": {"a": "b"}},
        {"plugin": "wgan", "data": {"name": ["digits"]}},
        {"plugin": "wgan", "data": {"name": {"a": 1}}},
        {"plugin": "wgan", "sampler": {"name": [1]}},
        {"plugin": "wgan", "preset": ["tiny"]},
        {"plugin": "wgan", "run_dir": "a\0b"},
        {"plugin": "wgan", "run_dir": "\udcff"},
        {"plugin": "wgan", "train": 3},
        {"plugin": "wgan", "train": [1]},
        {"plugin": "wgan", "seed": {}},
        {"plugin": "wgan", "seed": 10**400},
        {"plugin": "wgan", 3: 4},
        {"config": "\0"},
    ],
    ids=lambda given: str(given)[:60] if isinstance(given, list) else None,
)
def test_hostile_options_are_refused_in_a_few_words(given: Any) -> None:
    """Catches a traceback, a hang, and an error as long as its cause."""
    with pytest.raises(UsageError) as caught:
        resolve_matrix(given)
    assert len(str(caught.value)) < 6000


def test_a_hostile_file_is_refused_in_a_few_words(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    for text in (
        f"plugin: wgan\ntrain: {BOMB}",
        "plugin: wgan\ntrain: &a {steps: *a}",
        "plugin: wgan\nx: &a [*a]",
    ):
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            resolve([f"config={path}"])
        assert len(str(caught.value)) < 6000


def test_a_matrix_has_a_largest_size() -> None:
    """Catches a billion runs that are resolved before anybody counts them."""
    lists = [
        f"{key}=" + ",".join(map(str, range(1, 1001))) for key in ("seed", "train.steps", "train.batch_size")
    ]
    with pytest.raises(UsageError, match=f"1,000,000,000 runs.*\n.*{MAX_RUNS:,}"):
        resolve_matrix(["plugin=wgan", *lists])


def test_an_empty_section_keeps_the_plugins_defaults() -> None:
    """Catches `train: {}` in a file that resets what the plugin states."""
    assert plain(resolve({"plugin": "wgan", "train": {}})) == plain(resolve(["plugin=wgan"]))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("[0.5,0.9],[0,1]", ["[0.5,0.9]", "[0,1]"]),
        ("'tea, green',coffee", ["tea, green", "coffee"]),
        ('"a,b"', ["a,b"]),
        ("a dog's bowl,b", ["a dog's bowl", "b"]),
        ("'a','b'", ["a", "b"]),
        ("{a: 1, b: 2}", ["{a: 1, b: 2}"]),
        ("a,", ["a", ""]),
    ],
)
def test_a_comma_list_keeps_what_is_quoted_or_in_brackets(text: str, values: list[str]) -> None:
    assert comma_list.split(text) == values


class Before(RunConfig):
    """A third-party config as it was when runs were recorded."""

    width: int = 8
    """Width."""


class Part(Config):
    """A section that came later."""

    rate: float = 0.5
    """Rate."""


class After(Before):
    """The same config with options added since."""

    depth: int = later(2, since="1.1", ge=1)
    """Its default keeps the earlier behavior."""
    norm: str = later("group", since="1.2", as_before="none")
    """Its default is another behavior; "none" is the earlier one."""
    part: Part = later(Part(), since="1.3")
    """A section."""


class Inherits(After):
    """Declares a later option again, with a default of its own."""

    depth: int = 4
    """Depth."""


def test_an_option_added_later_moves_no_hash() -> None:
    """And a value other than the earlier behavior moves it, be it the new default."""
    was = config_hash(Before())
    assert config_hash(After(norm="none")) == was
    others = [After(), After(norm="none", depth=3), After(norm="none", part=Part(rate=0.1)), Before(width=9)]
    assert len({was, *map(config_hash, others)}) == 1 + len(others)
    assert config_hash(Inherits(norm="none", depth=2)) == was
    assert config_hash(Inherits(norm="none")) == config_hash(After(norm="none", depth=4))
    assert {key: before_later(After)[key] for key in ("depth", "norm", "part.rate")} == {
        "depth": 2,
        "norm": "none",
        "part.rate": 0.5,
    }


@pytest.mark.parametrize(
    ("given", "use"),
    [
        ("sample.guidance=0.5", "sample.guidance_scale=1.5"),
        ("sample.guidance=-1", "sample.guidance_scale=0"),
        ("train.picture_every=7", "train.sample_every=7"),
        ("track.pictures=false", "track.plots=false"),
        ("model.null_share=0.2", "model.cond_dropout=0.2"),
    ],
)
def test_an_earlier_option_name_gives_the_present_one(given: str, use: str) -> None:
    """Catches a renamed option that is only unknown, and a value that is not converted."""
    with pytest.raises(Mistakes) as found:
        resolve(["plugin=ddpm", given])
    assert f"use: {use}" in str(found.value)


@pytest.mark.parametrize(
    ("plugin", "given", "use"),
    [
        ("pix2pix", "data.source=grey", "data.source=gray"),
        ("stylegan", "model.augment=[colour,cutout]", "model.augment=[color,cutout]"),
    ],
)
def test_an_earlier_value_gives_the_present_one(plugin: str, given: str, use: str) -> None:
    with pytest.raises(Mistakes) as found:
        resolve([f"plugin={plugin}", given])
    assert f"did you mean: {use}" in str(found.value)


@pytest.mark.parametrize("given", ["data.source=colour", "model.augment=[grey]"])
def test_an_earlier_value_of_another_option_is_not_suggested(given: str) -> None:
    """Catches a suggestion that the option doesn't allow either."""
    plugin = "pix2pix" if given.startswith("data") else "stylegan"
    with pytest.raises(Mistakes) as found:
        resolve([f"plugin={plugin}", given])
    assert "expected: " in str(found.value)
    assert "did you mean" not in str(found.value)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (tuple[Literal["a", "b"], ...], "list of a | b"),
        (list[str] | None, "list of str or none"),
        (tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], "[float, float]"),
        (Annotated[int, Field(ge=0)], "int"),
    ],
)
def test_a_type_is_shown_by_its_choices(annotation: Any, name: str) -> None:
    """Catches Python's notation, and pydantic's fields, in a message for users."""
    assert type_name(annotation) == name


def test_a_comma_in_a_saved_text_makes_no_matrix(tmp_path):
    """Catches a saved path or caption that is split when the run is resumed or repeated."""
    (made,) = resolve_matrix(["plugin=gaussian", "data=folder", "data.path='im,g'"])
    (tmp_path / "config.yaml").write_text(strict_yaml.dump(plain(made)))
    again = resolve_matrix([f"config={tmp_path}", "seed=1,2"])
    assert [(run.data.path, run.seed) for run in again] == [("im,g", 1), ("im,g", 2)]
    assert resolve({"plugin": "gaussian", "data": "folder", "data.path": "im,g"}).data.path == "im,g"


@pytest.mark.parametrize("betas", ["[2,3]", "[0.9,1]", "[-0.1,0.9]"])
def test_decay_rates_outside_0_and_1_are_refused(betas):
    """Catches torch's traceback after the data were loaded."""
    with pytest.raises(Mistakes, match="betas"):
        resolve(["plugin=wgan", f"optim.critic.betas={betas}"])
