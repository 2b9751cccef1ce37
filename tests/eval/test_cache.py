"""What is kept of real data is kept once, and a damaged file is noticed."""

from __future__ import annotations

import pytest
import torch

from zoo_eval.cache import cached


class Compute:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"values": torch.arange(6.0).reshape(2, 3)}


def keep(compute, said, key=("a", "b")):
    return cached("features", key, compute, said.append)["values"]


def test_a_key_is_computed_once_and_another_key_apart(home):
    # catches a cache that never hits, and keys that run into each other
    compute, said = Compute(), []
    first, second = keep(compute, said), keep(compute, said)
    assert torch.equal(first, second)
    assert compute.times == 1
    keep(compute, said, ("ab", ""))
    assert compute.times == 2
    assert said == []


@pytest.mark.parametrize("place", [-1, 0, 60])
def test_a_flipped_bit_is_noticed_and_the_file_made_again(home, place):
    # catches safetensors' silence: it has no checksum
    compute, said = Compute(), []
    keep(compute, said)
    (path,) = (home / "stats").iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    assert torch.equal(keep(compute, said), torch.arange(6.0).reshape(2, 3))
    assert compute.times == 2
    assert "damaged" in said[0]
    keep(compute, said)
    assert compute.times == 2


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100])
def test_half_a_file_is_made_again(home, content):
    # catches a crash on what a killed process left
    compute, said = Compute(), []
    keep(compute, said)
    (path,) = (home / "stats").iterdir()
    path.write_bytes(content)
    keep(compute, said)
    assert compute.times == 2


def test_a_home_that_can_not_be_written_costs_time_and_nothing_else(home):
    # catches a run lost to a read-only folder
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("a file where the folder should be")
    compute, said = Compute(), []
    assert torch.equal(keep(compute, said), torch.arange(6.0).reshape(2, 3))
    assert "can't be kept" in said[0]
