"""A result as it is handed in: its file and attachments, without secrets and paths of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo_core.config.privacy import public
from zoo_core.errors import MachineError, UsageError
from zoo_core.results import Result, read_result, write_result
from zoo_core.results.attachments import read_attachment, write_attachment
from zoo_eval.store.limits import problem


@dataclass(frozen=True)
class Submission:
    """What is handed in.

    Attributes:
        result: as it is written.
        contents: name of each attachment -> its bytes.
    """

    result: Result
    contents: dict[str, bytes]

    @property
    def file_name(self) -> str:
        """Name under which the leaderboard finds the result: ASCII letters that any disk takes."""
        one = self.result
        return f"result-{one.data.name}-{one.plugin}-{one.config_hash}-s{one.seed}-{one.protocol.hash}.json"


def submission(path: Path, say: Callable[[str], None] = print) -> Submission:
    """Return the result of a run as it is handed in.

    Args:
        path: of a run's folder, or of one of the result files in it.
        say: receives what is left out or not checked.

    Raises:
        UsageError: where there is no result, it is not one that the leaderboard accepts, or the run's data
            changed.
    """
    file = path / "result.json" if path.is_dir() else path
    if not file.exists():
        others = sorted(path.glob("result-*.json"))
        config = (path / "config.yaml").exists()
        raise UsageError(
            f"no result in {str(path)!r}" if not others else f"no result.json in {str(path)!r}",
            "expected: the folder of a finished run, or its result file",
            *(f"next: zoo submit {other}" for other in others),
            f"next: zoo run resume={path}, then zoo eval {path} protocol=quick" if config else "",
        )
    result = read_result(file)
    reason = problem(result)
    if reason is not None:
        raise UsageError(f"{file} can't be submitted: {reason}")
    folder = file.parent
    if (folder / "config.yaml").exists():
        check_data(result, folder)
    else:
        say(f"no run in {folder}: its data are not hashed again")
    contents = {}
    for name, attachment in result.attachments.items():
        content = read_attachment(folder, attachment)
        if content is None:
            say(f"{attachment.file} is missing or was changed: left out")
        else:
            contents[name] = content
    kept = {name: attachment for name, attachment in result.attachments.items() if name in contents}
    return Submission(without_private_texts(result).model_copy(update={"attachments": kept}), contents)


def without_private_texts(result: Result) -> Result:
    """Return a result in whose options and provenance no text holds a secret or a path of the machine."""
    config = {key: public(value, key.rpartition(".")[2]) for key, value in result.config.items()}
    origin = result.provenance
    cleaned = {name: public(getattr(origin, name)) for name in ("command", "samples", "notes", "git")}
    return result.model_copy(update={"config": config, "provenance": origin.model_copy(update=cleaned)})


def write_submission(made: Submission, out: Path | None = None) -> Path:
    """Write a submission and return the path of its result file; attachments are written beside it.

    Args:
        out: file, or folder, which is made if it does not exist; by default the current folder. A path
            without a suffix is a folder.

    Raises:
        UsageError: where the file could not be found by the leaderboard.
        MachineError: where it can't be written.
    """
    path = Path(made.file_name) if out is None else out
    if path.is_dir() or not path.suffix:
        path = path / made.file_name
    if not (path.name.startswith("result") and path.suffix == ".json"):
        raise UsageError(
            f"--out {path.name!r} is a name that zoo leaderboard does not read",
            "expected: result*.json, or a folder",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"can't write {path.parent}: {error.strerror}") from error
    for name, content in made.contents.items():
        write_attachment(path.parent, made.result.attachments[name], content)
    write_result(made.result, path)
    return path


def check_data(result: Result, folder: Path) -> None:
    """Hash the content of a run's data again and compare it with the run's record and its result.

    Args:
        result: of the run.
        folder: of the run.

    Raises:
        UsageError: where the data are others than those of the run, of the result, or of the cache.
        ZooError: where the data can't be read.
    """
    from zoo_core.data.identity import check_again
    from zoo_core.runs import load_data, saved_config

    sha256 = check_again(folder, load_data(saved_config(folder)))
    if sha256 != result.data.sha256:
        raise UsageError(
            f"the result is of other data than those of {folder}",
            f"data.sha256: {result.data.sha256[:12]}... in the result, {sha256[:12]}... in the data",
            "next: restore the data, or score the run again with: zoo eval RUN",
        )
