"""Which method fits which operator and model, and what a refusal says."""

from __future__ import annotations

import re

import pytest

from tests.conftest import CHECKOUT
from zoo_core.errors import UsageError
from zoo_restore.capabilities import refuse, registered, table
from zoo_restore.registry import method, operator, working
from zoo_restore.spec import DenoiserFacts, MethodSpec, OperatorSpec, Verdict, verdict
from zoo_restore.specs import METHODS, OPERATORS

PLAIN = DenoiserFacts()


@pytest.mark.parametrize(
    ("by", "of", "kind"),
    [
        ("repaint", "inpaint", "heuristic"),
        ("repaint", "uncrop", "heuristic"),
        ("repaint", "lowres", "refused"),
        ("ddrm", "blur", "heuristic"),
        ("ddrm", "jpeg", "heuristic"),
        ("pigdm", "gray", "exact"),
        ("pigdm", "jpeg", "heuristic"),
        ("dps", "lowres", "heuristic"),
        ("dps", "jpeg", "refused"),
        ("sdedit", "jpeg", "heuristic"),
    ],
)
def test_capabilities_decide(by: str, of: str, kind: str) -> None:
    assert verdict(method(by), operator(of), PLAIN).kind == kind


def test_a_denoiser_without_a_score_or_without_images_is_refused_with_the_reason() -> None:
    for spec in METHODS:
        found = verdict(spec, operator("inpaint"), DenoiserFacts(coupling="dependent"))
        assert found.kind == "refused"
        assert "no score" in found.reason
        assert verdict(spec, operator("inpaint"), DenoiserFacts(source=True)).kind == "refused"
        latent = verdict(spec, operator("inpaint"), DenoiserFacts(space="latent"))
        assert latent.kind == ("heuristic" if spec.name == "sdedit" else "refused")


def test_an_operator_of_a_third_party_is_placed_by_its_capabilities() -> None:
    nothing = OperatorSpec("other", "other:Other")
    smooth = nothing._replace(differentiable=True)
    assert working(nothing, PLAIN) == []
    assert working(smooth, PLAIN) == ["dps"]
    assert working(smooth._replace(linear=True), PLAIN) == ["ddrm", "pigdm", "dps"]
    exact = MethodSpec("other", "other:other", "other:Config", 10, "", "", needs=("mask",), exact=("mask",))
    assert verdict(exact, operator("uncrop"), PLAIN) == Verdict("exact")


@pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("space", ["data", "latent"])
def test_a_refusal_names_methods_that_work(spec: OperatorSpec, space: str) -> None:
    facts = DenoiserFacts(space)  # type: ignore[arg-type]
    able = working(spec, facts)
    assert able
    for one in METHODS:
        if one.name in able:
            refuse([one], spec, facts)
            continue
        with pytest.raises(UsageError) as caught:
            refuse([one], spec, facts)
        named = re.findall(r"method=(\w+)", caught.value.notes[-1])
        assert named == able


def test_the_table_of_the_page_is_the_one_of_the_registry() -> None:
    """Every model with a denoiser, built small; and those whose noise depends on the data are refused."""
    facts = registered()
    assert facts["ddpm"] == PLAIN
    assert facts["ldm"].space == "latent"
    assert facts["ot-cfm"].coupling == "dependent"
    assert facts["palette"].source
    head, rows = table(facts)
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    page = (CHECKOUT / "docs" / "restore.md").read_text()
    for line in lines:
        assert line in page, f"docs/restore.md lacks: {line}"
