"""The hash of a training state, the trace under one root, and which segments a challenge draws."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_audit.challenge import Plan, caught, plan, power_lines, with_replacement
from zoo_audit.digest import state_sha256
from zoo_audit.trace import Trace, boundaries, merkle_root, read_trace, write_trace
from zoo_core.errors import MachineError, UsageError
from zoo_core.training.checkpoint import END, Checkpoint


def adam(index: int = 0, momentum: float = 1.0, beta: float = 0.999) -> dict[str, Any]:
    state = {index: {"exp_avg": torch.tensor([1.0, momentum])}}
    return {"net": {"state": state, "betas": (0.9, beta)}}


def state(**changed: Any) -> Checkpoint:
    parts: dict[str, Any] = {
        "counts": {"total": 3, "seconds": 1.5},
        "drawn": 6,
        "optimizers": adam(),
    }
    return Checkpoint(
        weights=changed.pop("weights", {"w": torch.arange(4.0), "n": torch.tensor(3)}),
        ema=changed.pop("ema", {"net": {"w": torch.zeros(4)}}),
        state=parts | changed,
    )


TOLD_APART = {
    "a weight": {"weights": {"w": torch.tensor([0.0, 1, 2, 3.0000002]), "n": torch.tensor(3)}},
    "a sign of zero": {"ema": {"net": {"w": torch.tensor([0.0, 0, 0, -0.0])}}},
    "a shape": {"weights": {"w": torch.arange(4.0).view(2, 2), "n": torch.tensor(3)}},
    "a type": {"weights": {"w": torch.arange(4.0).double(), "n": torch.tensor(3)}},
    "a type of the same bytes": {"ema": {"net": {"w": torch.zeros(4, dtype=torch.int32)}}},
    "a name": {"weights": {"v": torch.arange(4.0), "n": torch.tensor(3)}},
    "a buffer": {"weights": {"w": torch.arange(4.0), "n": torch.tensor(4)}},
    "no EMA weights": {"ema": {}},
    "the place in the data": {"drawn": 7},
    "true for one": {"drawn": True},
    "a text for a number": {"drawn": "6"},
    "a float for a number": {"drawn": 6.0},
    "steps": {"counts": {"total": 4, "seconds": 1.5}},
    "momentum": {"optimizers": adam(momentum=2.0)},
    "an option": {"optimizers": adam(beta=0.99)},
    "an optimizer's index": {"optimizers": adam(index=1)},
    "a further entry": {"rngs": None},
}


@pytest.mark.parametrize("what", TOLD_APART)
def test_any_value_of_a_state_moves_its_hash(what: str) -> None:
    # catches a part that is not hashed: a forger would change just that
    assert state_sha256(state(**TOLD_APART[what])) != state_sha256(state())


def test_neither_the_clock_nor_the_order_nor_the_layout_moves_it() -> None:
    # catches two equal trainings with different hashes: every honest run would be refuted
    slower = state(counts={"seconds": 99.0, "total": 3})
    assert state_sha256(slower) == state_sha256(state())
    end = {"counts": {"total": 3, "seconds": 1.0}}
    later = {"counts": {"total": 3, "seconds": 2.0}}
    assert state_sha256(state(**{END: end})) == state_sha256(state(**{END: later})) != state_sha256(state())
    columns = torch.arange(4.0).view(2, 2)
    one, other = (state(weights={"w": w}) for w in (columns, columns.t().contiguous().t()))
    assert state_sha256(one) == state_sha256(other)
    turned = state(weights=dict(reversed(state().weights.items())))
    assert state_sha256(turned) == state_sha256(state())


def test_parts_of_a_state_can_not_be_shifted_into_each_other() -> None:
    # catches hashing without lengths: ["ab", "c"] would be ["a", "bc"]
    values = (
        ["aS", "b"],
        ["a", "Sb"],
        ["ab", "c"],
        ["a", "bc"],
        ["abc"],
        "abc",
        [["ab"], "c"],
        [],
        None,
        {"a": "bc"},
        {"ab": "c"},
    )
    seen = {state_sha256(state(other=value)) for value in values}
    assert len(seen) == len(values)


def test_what_has_no_hash_is_refused() -> None:
    with pytest.raises(MachineError, match="holds a complex"):
        state_sha256(state(other=1j))


# -- the trace


def trace(count: int = 5, **changed: Any) -> Trace:
    states = tuple((2 * k + 2, hashlib.sha256(bytes([k])).hexdigest()) for k in range(count))
    one = Trace({"plugin": "vae", "seed": 0}, {"protocol": "quick"}, {"threads": 1}, 2, states)
    return replace(one, **changed)


def tree(leaves: list[bytes]) -> bytes:
    """Return the root by the recursion of RFC 6962: the left part has the largest power of two below n."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree(leaves[:left]) + tree(leaves[left:])).digest()


@pytest.mark.parametrize("count", range(1, 18))
def test_the_root_is_that_of_the_tree_of_rfc_6962(count: int) -> None:
    leaves = [bytes([k]) * 32 for k in range(count)]
    assert merkle_root(leaves) == tree(leaves)


def test_every_part_of_a_trace_moves_its_root() -> None:
    # catches a part that a forger may change after the root was published
    one = trace()
    states = list(one.states)
    others = [
        replace(one, states=(*states[:k], (states[k][0], "00" * 32), *states[k + 1 :])) for k in range(5)
    ]
    others += [replace(one, states=tuple(states[:-1])), replace(one, states=((1, states[0][1]), *states[1:]))]
    others += [replace(one, states=(states[1], states[0], *states[2:]))]
    others += [
        replace(one, run={"plugin": "vae", "seed": 1}),
        replace(one, machine={}),
        replace(one, every=3),
    ]
    others += [replace(one, evaluation={})]
    roots = {other.root() for other in others}
    assert len(roots) == len(others)
    assert one.root() not in roots
    assert trace().root() == one.root()


def test_each_link_holds_all_states_before_it() -> None:
    one, other = trace().chain(), trace(states=((2, "00" * 32), *trace().states[1:])).chain()
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_states_are_kept_at_multiples_and_at_the_end() -> None:
    assert boundaries(10, 3) == [3, 6, 9, 10]
    assert boundaries(9, 3) == [3, 6, 9]
    assert boundaries(2, 3) == [2]
    assert boundaries(0, 3) == [0]


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = trace(resumed=(3,))
    write_trace(one, tmp_path)
    assert read_trace(tmp_path) == one


DAMAGED: dict[str, dict[str, Any]] = {
    "steps out of order": {"states": [[4, "00" * 32], [2, "00" * 32]]},
    "a step twice": {"states": [[2, "00" * 32], [2, "00" * 32]]},
    "no hash": {"states": [[2, "00"]]},
    "a negative step": {"states": [[-2, "00" * 32]]},
    "true for a step": {"states": [[True, "00" * 32]]},
    "a text": {"states": "2"},
    "no machine": {"machine": None},
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_trace_is_refused(what: str, tmp_path: Path) -> None:
    write_trace(trace(), tmp_path)
    path = tmp_path / "audit" / "trace.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | DAMAGED[what]))
    with pytest.raises(UsageError, match="is not the trace of a training"):
        read_trace(tmp_path)


def test_a_run_without_a_trace_says_which_option_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read_trace(tmp_path)
    assert "train.audit=STEPS" in str(error.value)


# -- challenges


@pytest.mark.parametrize(
    ("total", "forged", "drawn"), [(6, 1, 2), (6, 2, 3), (7, 3, 1), (5, 5, 1), (6, 0, 3)]
)
def test_the_probability_is_that_of_all_draws(total: int, forged: int, drawn: int) -> None:
    # by enumeration: the first `forged` of `total` are forged
    draws = list(itertools.combinations(range(total), drawn))
    hits = sum(min(draw) < forged for draw in draws)
    assert caught(total, forged, drawn) == pytest.approx(hits / len(draws), abs=1e-12)


def test_the_formulas_of_the_page() -> None:
    for total, drawn in ((20, 3), (98, 10), (5, 5)):
        assert caught(total, 1, drawn) == pytest.approx(drawn / total, abs=1e-12)
        for forged in range(total + 1):
            bound = with_replacement(forged / total, drawn)
            assert caught(total, forged, drawn) >= bound - 1e-12
    assert caught(10_000, 1000, 5) == pytest.approx(1 - 0.9**5, abs=1e-3)
    assert caught(20, 1, 20) == 1


def test_a_plan_always_has_the_first_and_the_last() -> None:
    for segments, spot in itertools.product((1, 2, 3, 10), (0, 1, 5, 10**18)):
        made = plan(segments, spot, b"c" * 32, "00" * 32)
        assert {0, segments - 1} <= set(made.executed)
        assert len(made.drawn) == min(spot, max(0, segments - 2)) == len(set(made.drawn) - {0, segments - 1})


def test_a_draw_is_a_function_of_challenge_and_root_and_of_both() -> None:
    # catches segments that the submitter can know: without the challenge, or with it chosen before the root
    one = plan(50, 5, b"a" * 32, "00" * 32)
    assert plan(50, 5, b"a" * 32, "00" * 32) == one
    assert plan(50, 5, b"b" * 32, "00" * 32) != one
    assert plan(50, 5, b"a" * 32, "01" * 32) != one


def test_each_segment_is_drawn_as_often() -> None:
    times = Counter(
        k for n in range(2000) for k in plan(12, 3, n.to_bytes(32, "big"), "00" * 32).drawn
    )  # each 600 times, +-4.5 standard deviations of 20.5
    assert set(times) == set(range(1, 11))
    assert all(abs(count - 600) < 93 for count in times.values())


@pytest.mark.parametrize("forged", [1, 3, 8])
def test_forgeries_are_caught_as_often_as_the_formula_says(forged: int) -> None:
    p, n = caught(20, forged, 4), 2000
    shows = set(range(1, forged + 1))
    hits = sum(not shows.isdisjoint(plan(22, 4, k.to_bytes(32, "big"), "ab" * 32).drawn) for k in range(n))
    assert abs(hits / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_a_verdict_says_what_it_could_have_missed() -> None:
    lines = "\n".join(power_lines(Plan(22, (3, 5))))
    assert "in one of the 20 segments between with 2/20 = 0.1" in lines
    assert f"in 10 of the 20 with {caught(20, 10, 2):.3g} (at least 1 - (1 - 0.5)^2 = 0.75)" in lines
    assert "certain" in lines
    assert power_lines(Plan(3, (1,))) == [
        "power: every segment was executed again, so a forged one is caught for certain"
    ]
    assert "not at all" in power_lines(Plan(9, ()))[0]
