"""Secrets typed as options: none is written into a run's folder, and the run itself still receives them."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

import zoo_core
from zoo_core.config.privacy import HIDDEN, keep, kept, leak, public, redacted, redacted_text, redacted_words
from zoo_core.errors import UsageError
from zoo_core.launch.jobs import training_job
from zoo_core.registry.resolution import plain, resolve
from zoo_core.runs import saved_config
from zoo_core.runs.folder import write_config
from zoo_core.runs.job import resume

GITHUB = "ghp_" + "a1B2" * 9
SECRETS = [
    GITHUB,
    "github_pat_" + "a" * 30,
    "hf_" + "A" * 34,
    "glpat-" + "x" * 20,
    "sk-proj-" + "x" * 30,
    "xoxb-123456789012-abc",
    "AKIA" + "A" * 16,
    "AIza" + "b" * 35,
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "x={}", "https://host/a?b=1&c={}", "two {} {}"])
def test_tokens_of_known_formats_are_hidden(secret: str, around: str) -> None:
    made = redacted_text(around.format(secret, secret))
    assert made == around.format(HIDDEN, HIDDEN)
    assert redacted_text(made) == made
    assert leak(around.format(secret, secret)) is not None
    assert leak(made) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://me:pw@host/x", "https://(hidden)@host/x"),
        ("https://oauth-token@host/x", "https://(hidden)@host/x"),
        ("https://host/x?token=abc&size=3", "https://host/x?token=(hidden)&size=3"),
        ("https://host/x?X-Amz-Signature=abc#y", "https://host/x?X-Amz-Signature=(hidden)#y"),
        ("Authorization: Bearer abcdefghijklmnop1", "Authorization: Bearer (hidden)"),
        ("hf://user/name@main", "hf://user/name@main"),
        ("git+https://host/x@0123456789abcdef0123456789abcdef01234567",) * 2,
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("https://host/x?monkey=1&keys=2", "https://host/x?monkey=1&keys=2"),
        ("timm:vit_base", "timm:vit_base"),
        ("sk-learn", "sk-learn"),
        ("/home/me/ghp_notes", "/home/me/ghp_notes"),
        ("a" * 64, "a" * 64),
    ],
)
def test_addresses_lose_their_secrets_and_nothing_else(given: str, kept: str) -> None:
    assert redacted_text(given) == kept
    assert redacted_text(kept) == kept


def test_values_under_the_name_of_a_secret_are_hidden_and_numbers_stay() -> None:
    given = {
        "data": {"token": "abc", "path": "x", "tokens": 3, "hf_token": ["a", "b"]},
        "model.key": "k",
        "monkey": "m",
    }
    assert redacted(given) == {
        "data": {"token": HIDDEN, "path": "x", "tokens": 3, "hf_token": [HIDDEN, HIDDEN]},
        "model.key": HIDDEN,
        "monkey": "m",
    }
    assert public({"a": f"/home/me/{GITHUB}"}) == {"a": HIDDEN}


def test_values_of_secret_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    assert redacted_text("x correct-horse-battery") == f"x {HIDDEN}"


def test_arguments_of_a_command() -> None:
    words = [
        "run",
        f"track.project={GITHUB}",
        "data.token=abc",
        "--token",
        "abc",
        "--n",
        "3",
        "--password=pw",
    ]
    assert redacted_words(words) == [
        "run", f"track.project={HIDDEN}", f"data.token={HIDDEN}", "--token", HIDDEN, "--n", "3",
        f"--password={HIDDEN}",
    ]  # fmt: skip


def test_no_file_of_a_run_holds_a_secret_and_the_run_receives_it(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    url = "https://me:hunter22@host/data"
    config = resolve(
        {"plugin": "gaussian", "data.root": str(tmp_path / GITHUB), "track.project": GITHUB,
         "eval.extractor_path": url, "run_dir": str(folder), "eval.protocol": "none",
         "track.wandb": "offline", "track.progress": False, "track.plots": False}
    )  # fmt: skip
    zoo_core.run(config)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"config.yaml", "provenance.json"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        content = path.read_bytes()
        assert GITHUB.encode() not in content, path
        assert b"hunter22" not in content, path
    assert plain(saved_config(folder)) == plain(config) | {"run_dir": None}
    [store] = (home / "private").iterdir()
    assert stat.S_IMODE(store.stat().st_mode) == 0o600


def test_a_job_of_a_launcher_receives_its_secrets(home: Path, tmp_path: Path) -> None:
    config = resolve(
        {
            "plugin": "gaussian",
            "track.project": GITHUB,
            "run_dir": str(tmp_path / "run"),
            "eval.protocol": "none",
        }
    )
    job = training_job(config)
    assert not job.done()
    assert GITHUB not in " ".join(job.words)
    assert GITHUB not in (tmp_path / "run" / "config.yaml").read_text()
    assert resolve(job.words[1:]).track.project == GITHUB


def test_an_edited_config_wins_over_what_was_stored(home: Path, tmp_path: Path) -> None:
    config = resolve({"plugin": "gaussian", "track.project": GITHUB})
    write_config(config, tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace(f"project: {HIDDEN}", "project: mine"))
    assert saved_config(tmp_path).track.project == "mine"


def test_a_moved_run_asks_for_what_was_hidden(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a run that sends its results to a project named (hidden)."""
    quick = {"eval.protocol": "none", "track.progress": False, "track.plots": False}
    config = resolve({"plugin": "gaussian", "track.project": GITHUB, **quick})
    write_config(config, tmp_path / "run")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "another machine"))
    words: dict[str, object] = {"config": str(tmp_path / "run"), "run_dir": str(tmp_path / "again")}
    with pytest.raises(UsageError, match=r"track\.project was hidden.*\n.*config=RUN track\.project=VALUE"):
        zoo_core.run(words)
    with pytest.raises(UsageError, match=r"track\.project was hidden"):
        resume(tmp_path / "run")
    assert zoo_core.run(words, **{"track.project": "mine"}).run_dir == str(tmp_path / "again")


def test_secrets_stay_stored_when_they_cannot_be_written_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a full disk that costs the secrets that were there."""
    flat = {"track.project": GITHUB}
    keep(tmp_path, flat)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zoo_core.config.privacy.json.dump", full)
        with pytest.raises(OSError, match="No space left"):
            keep(tmp_path, {"track.project": GITHUB + "x"})
    assert kept(tmp_path, redacted(flat)) == flat
    assert len(list((home / "private").iterdir())) == 1
    keep(tmp_path, {"track.project": "mine"})
    assert not list((home / "private").iterdir())
