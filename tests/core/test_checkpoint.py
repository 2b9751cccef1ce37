"""Checkpoints survive a kill at any moment, a full disk and a flipped bit; a resume is exact."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.core.recipes import Duel, harness
from zoo_core.errors import Interrupted, MachineError
from zoo_core.machine.faults import machine_error
from zoo_core.machine.files import cannot_write
from zoo_core.training import checkpoint
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Harness, Listener


def example(value: float = 0.0) -> Checkpoint:
    tensor = torch.full((64,), value)
    return Checkpoint({"a": tensor, "tied": tensor}, {"net": {"a": tensor + 1}}, {"n": [1, 2.5], "t": tensor})


def write(root: Path, step: int) -> Path:
    return checkpoint.save(root, step, example(step), {"plugin": "toy"})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    found = checkpoint.load(write(tmp_path, 3))
    assert torch.equal(found.weights["a"], example(3).weights["a"])
    assert torch.equal(found.weights["tied"], found.weights["a"])
    assert torch.equal(found.ema["net"]["a"], example(4).weights["a"])
    assert found.state["n"] == [1, 2.5]


def test_the_last_two_are_kept_and_the_newest_is_the_highest_step(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        write(tmp_path, step)
    os.utime(tmp_path / "step-00000002", (2e9, 2e9))  # a clock that went wrong decides nothing
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step-00000002", "step-00000030"]
    found = checkpoint.latest(tmp_path, print)
    assert found is not None
    assert float(found[1].weights["a"][0]) == 30


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "state.pt"])
def test_every_flipped_bit_and_cut_is_found_before_loading(name: str, tmp_path: Path) -> None:
    """Both libraries load a flipped payload without a word; the manifest does not."""
    path = write(tmp_path, 1)
    whole = (path / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        (path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(MachineError):
            checkpoint.load(path)
        (path / name).write_bytes(whole[:place])
        with pytest.raises(MachineError):
            checkpoint.load(path)


def test_a_corrupt_checkpoint_falls_back_aloud_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    for step in (1, 2):
        write(tmp_path, step)
    said: list[str] = []
    (tmp_path / "step-00000002" / "state.pt").write_bytes(b"x")
    found = checkpoint.latest(tmp_path, said.append)
    assert found is not None
    assert found[0].name == "step-00000001"
    assert "warning" in said[0]
    (tmp_path / "step-00000001" / "manifest.json").write_text("{}")
    with pytest.raises(MachineError, match="corrupt"):
        checkpoint.latest(tmp_path, said.append)
    assert checkpoint.latest(tmp_path / "nowhere", said.append) is None


@pytest.mark.parametrize(
    "where",
    ["zoo_core.training.checkpoint.sha256_of", "safetensors.torch.load_file", "torch.load"],
    ids=["verify", "weights", "state"],
)
def test_a_signal_while_a_checkpoint_is_read_sets_none_aside(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a good checkpoint that is taken for a corrupt one, and training that starts again at 0."""
    for step in (1, 2):
        write(tmp_path, step)

    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM, "interrupted by SIGTERM")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(where, interrupted)
        for read in (checkpoint.recover, checkpoint.latest):
            with pytest.raises(Interrupted):
                read(tmp_path, said.append)
    assert said == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]
    found, reasons = checkpoint.recover(tmp_path, said.append)
    assert found is not None
    assert (found[0].name, reasons) == ("step-00000002", [])


def test_advice_fits_the_reason_for_which_a_write_failed(tmp_path: Path) -> None:
    """Catches advice to free some space where a folder may not be written."""
    for number, advice in (
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose a place that you may write to"),
        (errno.EIO, "fix that"),
    ):
        error = OSError(number, os.strerror(number), str(tmp_path))
        for made in (cannot_write(tmp_path, 10, error), machine_error(error)):
            assert made is not None
            assert f"next: {advice}" in str(made)


def in_child(job: Callable[[], None]) -> int:
    """Run a job in a forked child and return its raw wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            job()
            os._exit(0)
        except BaseException as error:
            os._exit(getattr(error, "status", 1))
    return os.waitpid(pid, 0)[1]


OPERATIONS = ("fsync", "rename", "mkdir", "open")


def test_a_kill_at_any_system_call_of_a_write_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    """Catches an unlink before the rename, and a manifest written before its files."""
    write(tmp_path, 1)
    moments = 0
    for count in range(1, 60):

        def job(count: int = count) -> None:
            left = count

            def fatal(original: Callable[..., object]) -> Callable[..., object]:
                def call(*args: object, **kwargs: object) -> object:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*args, **kwargs)

                return call

            for name in OPERATIONS:
                setattr(os, name, fatal(getattr(os, name)))
            write(tmp_path, 2)

        status = in_child(job)
        found = checkpoint.latest(tmp_path, print)
        assert found is not None
        step = int(found[0].name.removeprefix("step-"))
        assert float(found[1].weights["a"][0]) == step
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        moments += 1
        if (tmp_path / "step-00000002").exists():
            for file in (tmp_path / "step-00000002").iterdir():
                file.unlink()
            (tmp_path / "step-00000002").rmdir()
    assert moments >= 8


def test_a_full_disk_keeps_the_old_checkpoint_and_leaves_no_litter(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def job() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with EFBIG instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        write(tmp_path, 2)

    status = in_child(job)
    assert os.WEXITSTATUS(status) == MachineError.status
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    checkpoint.load(tmp_path / "step-00000001")


def state_bytes(run: Harness) -> dict[str, torch.Tensor]:
    kept = run.checkpoint()
    return {**kept.weights, **{f"ema {n} {k}": t for n, s in kept.ema.items() for k, t in s.items()}}


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_resume_from_any_step_equals_the_uninterrupted_run(cut: int, tmp_path: Path) -> None:
    """Catches a forgotten optimizer, average, generator, data position, dropout state or stage."""
    torch.manual_seed(0)
    whole = harness(Duel(), steps=20)
    start = {k: v.clone() for k, v in whole.recipe.state_dict().items()}
    whole.run()

    torch.manual_seed(0)
    first = harness(Duel(), steps=20)
    first.recipe.load_state_dict(start)
    first.listener = Listener(
        stop=lambda: first.counts.total == cut,
        save=lambda step, kept: checkpoint.save(tmp_path, step, kept, {}) and None,
    )
    first.run()

    torch.manual_seed(99)  # what a new process starts with must not matter
    again = harness(Duel(), steps=20)
    found = checkpoint.latest(tmp_path, print)
    assert found is not None
    again.restore(found[1])
    assert again.counts.total == cut
    again.run()
    expected, got = state_bytes(whole), state_bytes(again)
    assert expected.keys() == got.keys()
    for name in expected:
        assert torch.equal(expected[name], got[name]), name
    assert again.counts.updates == whole.counts.updates
    assert again.counts.images == whole.counts.images
