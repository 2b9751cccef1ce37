"""The ledger of published scores: complete protocol fields, few unread sources, contradictions explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.config import strict_yaml
from zoo_core.registry.index import NODES, index_path, load_index
from zoo_core.registry.ledger import FIELDS, UNVERIFIED, Published, contradictions, headlines, tally

SCORES = load_index().scores
"""Every published score of registry.yaml, with the name of its model."""


def score(value: float = 3.17, **fields: Any) -> Published:
    """Return an entry, changed."""
    known = {"data": "cifar10", "metric": "fid", "setting": "a", "source": "A 2020, table 1", "read": True}
    return Published.model_validate({"value": value} | dict.fromkeys(FIELDS) | known | fields)


def kinds(*entries: Published) -> list[str]:
    """Return the kinds of the contradictions between entries of one model."""
    return [found.kind for found in contradictions([("m", one) for one in entries])]


def test_every_entry_has_every_protocol_field() -> None:
    # catches an entry that is silent where its source is: null says that the source does not say
    document = strict_yaml.read(index_path(), NODES)
    for entry in [*document["plugins"], *document["literature"]]:
        for one in entry.get("published", ()):
            assert set(FIELDS) <= set(one), (entry["name"], one)


def test_an_entry_is_one_line() -> None:
    lines = index_path().read_text().splitlines()
    assert sum(line.startswith("      - {data: ") for line in lines) == len(SCORES)


def test_an_entry_without_a_protocol_field_is_refused() -> None:
    whole = score().model_dump()
    for name in FIELDS:
        with pytest.raises(ValueError, match=name):
            Published.model_validate({key: value for key, value in whole.items() if key != name})


def test_there_are_three_hundred_scores_and_at_most_a_third_is_unread() -> None:
    unread = [one for _, one in SCORES if not one.read]
    assert len(SCORES) >= 300
    assert 3 * len(unread) <= len(SCORES)


def test_each_source_names_its_place_and_a_citation_names_both() -> None:
    # catches a paper without its table, and a number from a citation that is called read
    place = r"table|section|abstract|README|logs|caption"
    for model, one in SCORES:
        assert re.search(place, one.source), (model, one.source)
        assert one.read == (" as " not in one.source), (model, one.source)


def test_no_two_entries_are_equal() -> None:
    whole = [(model, one.model_dump_json()) for model, one in SCORES]
    assert len(set(whole)) == len(whole)


def test_a_distance_to_data_is_positive_and_a_likelihood_has_its_split() -> None:
    for model, one in SCORES:
        if one.metric == "nats":
            assert one.value < 0, (model, one)  # a mean log-likelihood, not its negative
        else:
            assert one.value > 0, (model, one)
        if one.metric in ("nats", "bits_per_dim"):
            assert one.reference, (model, one)
            assert one.samples is None, (model, one)


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (score(3.17), []),
        (score(3.174), []),  # 3.17 there is 3.17 here
        (score(3.2), []),
        (score(3.21), ["value"]),
        (score(3.21, nfe=50), ["value"]),  # the other does not say
        (score(3.21, setting="b"), []),
        (score(3.21, data="mnist"), []),
        (score(3.21, metric="is"), []),
        (score(3.17, setting="b"), []),  # two rows of one table may be equal
        (score(3.17, setting="b", source="B 2021, table 2"), ["conditions"]),
        (score(3.17, source="B 2021, table 2"), []),  # two sources that agree
        (score(3.17, setting="b", source="B 2021, as A 2020, table 1 gives it"), []),
    ],
)
def test_contradictions_are_found_by_rule(second: Published, found: list[str]) -> None:
    assert kinds(score(), second) == found


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("condition", ("unconditional", "class")),
        ("guidance", ("unguided", "classifier-free 1.5")),
        ("weights", ("ema", "raw")),
        ("nfe", (10, 1000)),
    ],
)
def test_another_run_is_not_a_contradiction(field: str, values: tuple[Any, Any]) -> None:
    first, second = (score(value, **{field: said}) for value, said in zip((3.17, 3.21), values, strict=True))
    assert kinds(first, second) == []


def test_what_is_measured_differently_explains_itself_and_the_rest_needs_a_reason() -> None:
    first = score(samples=50_000, reference="train")
    (found,) = contradictions([("m", first), ("m", score(5.24, samples=50_000, reference="test"))])
    assert (found.differs, found.open) == (("reference",), False)
    assert "reference train and test" in found.reason
    (found,) = contradictions([("m", first), ("m", score(5.24))])
    assert (found.differs, found.open, found.reason) == ((), True, "not explained")
    (found,) = contradictions([("m", first), ("m", score(5.24, explained="a typo"))])
    assert (found.open, found.reason) == (False, "a typo")


def test_contradictions_in_the_ledger_are_explained_and_no_explanation_is_left_over() -> None:
    found = contradictions(SCORES)
    assert found
    assert [one for one in found if one.open] == []
    involved = {id(one) for pair in found for one in (pair.first, pair.second)}
    assert [one for _, one in SCORES if one.explained and id(one) not in involved] == []


def test_a_known_contradiction_is_among_them() -> None:
    # NCSNv2 is cited with two values, StudioGAN's SNGAN was measured against two splits
    values = {(one.model, one.first.value, one.second.value) for one in contradictions(SCORES)}
    assert {("ncsn", 10.87, 31.75), ("sngan", 13.248, 10.2011), ("ddpm", 3.17, 5.24)} <= values


def test_conditions_are_said_in_words() -> None:
    one = score(condition="class", samples=50_000, reference="train", guidance="classifier-free 1.5", nfe=250)
    assert one.conditions == (
        "a, class-conditional, classifier-free 1.5 guidance, 50,000 samples, train reference, NFE 250"
    )
    assert str(one) == f"fid 3.17 on cifar10 ({one.conditions}; A 2020, table 1)"
    assert UNVERIFIED in str(score(read=False))
    assert str(score(setting="")) == "fid 3.17 on cifar10 (A 2020, table 1)"


def test_a_headline_is_the_first_of_its_data_and_metric() -> None:
    first, other = score(1.0), score(2.0, metric="is")
    assert headlines([first, other, score(3.0)]) == [first, other]
    assert tally([("m", first), ("m", score(read=False, source="B, as C gives it"))]) == (
        "2 published scores of 2 sources, 1 read and 1 unverified"
    )


def test_show_prints_the_headlines_and_marks_the_unverified(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["show", "iddpm"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{UNVERIFIED})" in shown
    assert "more; zoo registry scores --model iddpm" in shown
    assert invoke(["show", "iddpm", "--json"]) == 0
    published = json.loads(capsys.readouterr().out)["published"]
    assert len(published) == sum(model == "iddpm" for model, _ in SCORES)


def test_scores_are_listed_by_model_data_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["registry", "scores", "--model", "ddpm", "--data", "celeba", "--metric", "fid"]
    assert invoke([*wanted, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(one["model"], one["data"], one["metric"]) for one in found} == {("ddpm", "celeba", "fid")}
    assert len(found) == 25
    assert invoke(wanted) == 0
    assert "25 published scores of 1 source," in capsys.readouterr().out
    assert invoke(["registry", "scores", "--data", "no-such-data"]) == 2
    assert "no published score of data 'no-such-data'" in capsys.readouterr().err


def test_contradictions_are_printed_with_their_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["registry", "contradictions"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "ncsn: fid on cifar10: 10.87" in out
    assert "0 of them not explained" in out
    assert invoke(["registry", "contradictions", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(contradictions(SCORES))


def test_a_contradiction_that_nothing_explains_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "registry.yaml"
    text = index_path().read_text()
    line = next(line for line in text.splitlines() if "value: 25.32" in line)
    path.write_text(text.replace(line, line + "\n" + line.replace("25.32", "26.9")))
    assert invoke(["registry", "check", str(path)]) == 2
    assert "ncsn: fid on cifar10: 25.32" in capsys.readouterr().err
