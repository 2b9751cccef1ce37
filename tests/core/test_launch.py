"""Many jobs in processes of their own: what each launcher does with one that fails, is killed, or is done."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.errors import MachineError, UsageError
from zoo_core.launch import local
from zoo_core.launch.jobs import Job, Outcome, training_job
from zoo_core.launch.local import Local, visible_gpus
from zoo_core.launch.process import start
from zoo_core.launch.progress import Progress, counted, duration, table_rows
from zoo_core.launch.queue import ATTEMPTS, Queue, first_status, make_launcher
from zoo_core.launch.ray_cluster import Ray
from zoo_core.launch.slurm import Slurm
from zoo_core.machine import threads
from zoo_core.registry.resolution import resolve

FAKE = """
import fcntl, os, signal, sys, time
from pathlib import Path

what, folder = sys.argv[1], Path(sys.argv[2])
lock = open(folder / ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
tries = len(list(folder.glob("try-*")))
(folder / f"try-{tries}").write_text(str(os.getpid()))
print("threads", os.environ["OMP_NUM_THREADS"], "rank", os.environ.get("RANK"))
if what == "mistake":
    print("error: no such thing")
    print("    next: another thing")
    sys.exit(2)
if what == "dies" or (what == "dies-once" and tries == 0):
    os.kill(os.getpid(), signal.SIGKILL)
if what == "slow" and not (folder / "saved").exists():
    def save(number, frame):
        time.sleep(0.5)  # the lock is held meanwhile
        (folder / "saved").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    (folder / "ready").touch()
    time.sleep(60)
(folder / "done").touch()
"""


class Silent:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[Outcome] = []

    def started(self, job: Job, attempt: int) -> None:
        pass

    def ended(self, outcome: Outcome) -> None:
        self.ends.append(outcome)

    def tick(self, running: Sequence[Job], waiting: int) -> None:
        pass


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the module `fakejob`, which needs no torch."""
    (tmp_path / "fakejob.py").write_text(FAKE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fake(workspace: Path, what: str, name: str = "") -> Job:
    folder = workspace / (name or what)
    folder.mkdir(exist_ok=True)
    return Job(name or what, "fakejob", (what, str(folder)), folder, lambda: (folder / "done").exists())


LAUNCHERS: dict[str, Callable[[], Any]] = {
    "local": lambda: Local(2),
    "ray": lambda: Ray(2),
    "slurm": lambda: Slurm(3, cluster="local"),
}


@pytest.mark.slow(depends=("zoo_core/launch", "zoo_core/machine"))
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_killed_job_is_tried_again_and_a_mistake_is_not(name: str, workspace: Path) -> None:
    """The contract of all launchers; catches a mistake that is repeated, and a kill that ends it all."""
    (workspace / "before").mkdir()
    (workspace / "before" / "done").touch()
    kinds = ("ok", "mistake", "dies-once", "dies")
    jobs = [fake(workspace, what) for what in kinds] + [fake(workspace, "ok", "before")]
    launcher = LAUNCHERS[name]()
    try:
        outcomes, received = Queue(jobs, launcher, Silent()).run()
    finally:
        launcher.close()
    assert received is None
    assert [(o.job.name, o.state, o.status, o.attempts) for o in outcomes] == [
        ("ok", "done", 0, 1),
        ("mistake", "mistake", 2, 1),
        ("dies-once", "done", 0, 2),
        ("dies", "killed", 137, ATTEMPTS),
        ("before", "done before", 0, 0),
    ]
    assert outcomes[1].note == "no such thing"
    assert "SIGKILL" in outcomes[3].note
    assert first_status(outcomes) == 2
    for job, tries in zip(jobs, (1, 1, 2, ATTEMPTS, 0), strict=True):
        assert len(list(job.folder.glob("try-*"))) == tries
        assert (job.log.read_text() if tries else "threads 1").count("threads 1") == max(1, tries)


@pytest.mark.slow(depends=("zoo_core/launch", "zoo_core/machine"))
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_stop_reaches_every_job_and_leaves_none(name: str, workspace: Path) -> None:
    jobs = [fake(workspace, "slow", f"slow-{i}") for i in range(2)] + [
        fake(workspace, "ok", f"late-{i}") for i in range(3)
    ]

    class Stopper(Silent):
        def tick(self, running: Sequence[Job], waiting: int) -> None:
            if all((job.folder / "ready").exists() for job in jobs[:2]):
                os.kill(os.getpid(), signal.SIGTERM)

    launcher = LAUNCHERS[name]()
    launcher.slots = 2
    try:
        outcomes, received = Queue(jobs, launcher, Stopper()).run()
    finally:
        launcher.close()
    assert received == signal.SIGTERM
    assert [o.state for o in outcomes] == ["interrupted"] * 2 + ["not started"] * 3
    assert first_status(outcomes) > 128
    for job in jobs[:2]:
        wait_for(lambda job=job: not alive(int((job.folder / "try-0").read_text())))  # type: ignore[misc]
        assert name == "slurm" or (job.folder / "saved").exists()  # its local stand-in kills after a second


def test_a_job_that_cannot_start_leaves_the_others_alone(workspace: Path) -> None:
    """Catches an error of the system at one start that kills all jobs, and a slot that it keeps."""

    def unwritable() -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", str(workspace / "full"))

    full = Job("full", "fakejob", (), workspace / "full", unwritable)
    unstarted = fake(workspace, "ok", "unstarted")
    unstarted.log.mkdir()
    jobs = [fake(workspace, "ok", "first"), full, unstarted, fake(workspace, "ok", "last")]
    launcher = Local(1)
    outcomes, _ = Queue(jobs, launcher, Silent()).run()
    assert [(o.state, o.status) for o in outcomes] == [
        ("done", 0),
        ("machine", 5),
        ("machine", 5),
        ("done", 0),
    ]
    assert "No space left on device" in outcomes[1].note
    assert "can't write" in outcomes[2].note


def test_an_error_of_the_launcher_lets_jobs_save(workspace: Path) -> None:
    """Catches jobs that are killed, and lose their last steps, because something beside them failed."""
    job = fake(workspace, "slow")

    class Broken(Silent):
        def tick(self, running: Sequence[Job], waiting: int) -> None:
            if (job.folder / "ready").exists():
                raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError):
        Queue([job], Local(1), Broken()).run()
    assert (job.folder / "saved").exists()
    assert not alive(int((job.folder / "try-0").read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def driver(workspace: Path) -> subprocess.Popen[str]:
    code = (
        "from pathlib import Path\n"
        "import runpy\n"
        f"here = runpy.run_path({__file__!r})\n"
        "job = here['fake'](Path.cwd(), 'slow')\n"
        "print(here['Queue']([job], here['Local'](1), here['Silent']()).run()[0][0].state)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=workspace)


def test_a_launcher_that_is_killed_leaves_no_orphan_and_the_next_one_waits_for_its_folder(
    workspace: Path,
) -> None:
    """Catches a job that goes on alone, and one that is refused because the other is still saving."""
    first = driver(workspace)
    wait_for(lambda: (workspace / "slow" / "ready").exists(), 60)
    first.kill()
    first.wait()
    jobs = [fake(workspace, "slow")]
    outcomes, _ = Queue(jobs, Local(1), Silent()).run()
    assert (workspace / "slow" / "saved").exists()
    assert [(o.state, o.attempts) for o in outcomes] == [("done", 1)]


def test_a_folder_is_never_given_to_two_jobs(workspace: Path) -> None:
    jobs = [fake(workspace, "ok"), fake(workspace, "ok")]
    outcomes, _ = Queue(jobs, Local(2), Silent()).run()
    assert [(o.state, o.attempts) for o in outcomes] == [("done", 1)]


def test_each_slot_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    """Catches two jobs on one GPU while another idles, and a slot that is lost with its job."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    given: list[str] = []

    def spy(module: str, words: Any, log: Path, env: dict[str, str], cwd: Path) -> Any:
        given.append(env["CUDA_VISIBLE_DEVICES"])
        return start(module, words, log, env, cwd)

    monkeypatch.setattr("zoo_core.launch.local.start", spy)
    launcher = Local()
    assert launcher.slots == 2
    Queue([fake(workspace, "ok", f"job-{i}") for i in range(5)], launcher, Silent()).run()
    assert sorted(given[:2]) == ["3", "5"]
    assert launcher._begun == {0: [], 1: []}
    assert set(given) == {"3", "5"}


class Cards:
    """GPUs whose jobs take memory when they are told to, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: str, total: int) -> None:
        self.total, self.used, self.now = total, dict.fromkeys(range(len(names.split(","))), 0), 0.0
        self.children: list[Any] = []
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        monkeypatch.setattr(local, "free_memory", lambda gpu: (self.total - self.used[gpu], self.total))
        monkeypatch.setattr(local.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(local, "start", self.begin)

    def begin(self, module: str, words: Any, log: Path, env: dict[str, str], cwd: Path) -> Any:
        self.children.append(SimpleNamespace(gpu=env["CUDA_VISIBLE_DEVICES"], poll=lambda: None))
        return self.children[-1]


def test_eight_small_jobs_share_one_card(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    cards = Cards(monkeypatch, "3", 80)
    launcher = Local(8)
    job = fake(workspace, "ok")
    for _ in range(8):
        assert launcher.has_space()
        launcher.start(job)
    assert [child.gpu for child in cards.children] == ["3"] * 8
    assert not launcher.has_space()


def test_a_job_waits_for_memory_on_a_shared_card(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    """Catches jobs that are placed by the count alone, and a job that counts twice once it has its memory."""
    cards = Cards(monkeypatch, "0", 80)
    launcher = Local(8)
    job = fake(workspace, "ok")
    large = launcher.start(job)
    cards.used[0], cards.now = 65, 100.0  # it has grown to six shares and a half
    assert launcher.has_space()
    launcher.start(job)
    assert not launcher.has_space()  # 15 are free, of which the second will take 10
    cards.used[0], cards.now = 67, 200.0  # it took 2 only
    assert launcher.has_space()
    cards.used[0] = 71
    assert not launcher.has_space()
    cards.children[0].poll = lambda: 0
    large.poll()
    cards.used[0] = 6
    assert launcher.has_space()


def test_a_card_that_others_fill_takes_one_job(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    """Catches a queue that waits for ever."""
    cards = Cards(monkeypatch, "0,1", 80)
    launcher = Local(4)
    cards.used = {0: 80, 1: 0}
    job = fake(workspace, "ok")
    for _ in range(3):
        launcher.start(job)
    assert sorted(child.gpu for child in cards.children) == ["0", "1", "1"]
    assert not launcher.has_space()


def test_memory_that_can_t_be_asked_hinders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(gpu: int) -> tuple[int, int]:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr("torch.cuda.mem_get_info", refuses)
    assert local.free_memory(0) is None


@pytest.mark.parametrize(
    ("value", "gpus"),
    [("-1", []), ("", []), ("0,-1,1", ["0"]), ("3, 5", ["3", "5"]), ("GPU-8932f937", ["GPU-8932f937"])],
)
def test_gpus_are_counted_as_cuda_counts_them(
    value: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches -1, which hides all GPUs, taken for the name of one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == gpus
    assert Local().slots == (len(gpus) or threads.cores())


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_a_matrix_on_two_slots_is_done_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real command: results as of `zoo run`, a table, the mistake's status, and nothing done twice."""
    words = ["run", "plugin=wgan", "preset=tiny", "seed=0,1", "eval.protocol=none", "track.wandb=off"]
    words += ["track.plots=false", "--launcher", "local", "--slots", "2", "--json"]
    assert invoke(words) == 0
    told = capsys.readouterr()
    results = [json.loads(line) for line in told.out.splitlines()]
    assert [result["seed"] for result in results] == [0, 1]
    for result in results:
        assert json.loads((Path(result["run_dir"]) / "run.json").read_text())["state"] == "finished"
        assert (Path(result["run_dir"]) / "job.log").exists()
    assert told.err.count(": done in") == 2
    assert invoke(words) == 0
    assert capsys.readouterr().err.count("done before") == 2


def test_a_folder_of_another_config_is_a_mistake_in_the_table(home: Path) -> None:
    base = ["plugin=wgan", "preset=tiny", "run_dir=here"]
    training_job(resolve(base)).done()
    outcomes, _ = Queue([training_job(resolve([*base, "model.clip=0.5"]))], Local(1), Silent()).run()
    assert [(o.state, o.status, o.attempts) for o in outcomes] == [("mistake", 2, 1)]
    assert "another config" in outcomes[0].note


@pytest.mark.parametrize(
    ("name", "resources", "told"),
    [
        ("locl", {}, "did you mean: --launcher local"),
        ("local", {"num_gpus": "1"}, "no --resource"),
        ("ray", {"gpus": "1"}, "num_gpus"),
        ("ray", {"num_gpus": "many"}, "a number"),
    ],
)
def test_an_unknown_launcher_or_resource_is_told(name: str, resources: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_launcher(name, None, resources)


def test_a_launcher_under_torchrun_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches every process of a torchrun launching the whole matrix."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert invoke(["run", "plugin=wgan", "preset=tiny", "--launcher", "local"]) == 2
    assert "torchrun" in capsys.readouterr().err


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="no Slurm here"):
        make_launcher("slurm", None, {})


def test_on_a_terminal_one_line_lives_and_is_gone_at_the_end(workspace: Path) -> None:
    """Catches a table that starts behind the last line, as it once did."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    job = fake(workspace, "ok")
    progress = Progress(1, out)
    progress.tick([job], 0)
    progress.ended(Outcome(job, "done", 0, 1, 8.0))
    progress.tick([], 0)
    shown = [line.rpartition("\r\x1b[K")[2] for line in out.getvalue().split("\n")]
    assert "ok 0/0" in out.getvalue()
    assert shown == ["[1/1] ok: done in 8 s", ""]


def test_progress_is_a_line_a_job_and_a_table(workspace: Path) -> None:
    job = fake(workspace, "ok")
    (job.folder / "metrics.jsonl").write_text('{"step": 40}\n{"step": 50}\n')
    assert job.step() == 50
    out = io.StringIO()
    progress = Progress(2, out)
    bad = Outcome(job, "diverged", 3, 1, 75.0, "its loss is not finite")
    progress.started(job, 1)
    progress.tick([job], 1)
    progress.ended(bad)
    assert out.getvalue() == "[1/2] ok: diverged in 1 min 15 s: its loss is not finite\n"
    assert table_rows([bad]) == [["ok", "diverged", "1", "1 min 15 s", "its loss is not finite"]]
    assert counted([bad, bad, Outcome(job, "done")]) == "2 diverged, 1 done"
    assert [duration(s) for s in (8, 65, 3840)] == ["8 s", "1 min 05 s", "1 h 04 min"]
