"""What may be written or sent of a config or a command: no secret, and no path that names its user.

`redacted` is for files that stay here and may be shared later (config.yaml, provenance.json, result.json);
`public` is for what is sent now (W&B, submissions): it also shortens paths. A run still receives the values:
`keep` stores them outside the run's folder, readable by their owner only, and `kept` reads them back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import strict_json
from zoo_core.errors import UsageError, ZooError
from zoo_core.home import home

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(
    r"(^|[_.-])((api_?key|token|secret|password|passwd|credentials?)($|[_.-])|key$)", re.I
)
_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.I)
_TOKEN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"
    r"|\bsk-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\bA[KS]IA[0-9A-Z]{16}\b|\bwandb_v\d_\w{16,}"
    r"|\bAIza[\w-]{30,}|\bpypi-[\w-]{16,}|\bnpm_[A-Za-z0-9]{30,}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]+)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
_USER = re.compile(r"(?<=://)(?!git@)[^\s/@?#]+(?=@)")
"""The user and password of an address, before the host."""
_PARAMETER = re.compile(
    r"(?P<before>[?&;](?:[\w-]*[_-])?(?:token|key|secret|password|passwd|signature|sig|credential)=)[^&;\s#'\"]+",
    re.I,
)
_BEARER = re.compile(r"(?P<before>\b(?:bearer|basic)\s+)[\w.+/=-]{16,}", re.I)
_PATH = re.compile(
    r"(?P<before>^|[\s=,'\"(\[{])"
    r"(?P<path>(?:file:/|~[\w.-]*[\\/]|[A-Za-z]:[\\/]|\\\\|\.\.?[\\/]|/)[^\s,'\"()\[\]{}]*)"
)
_HOME = re.compile(r"(?:file://)?(?:[A-Za-z]:)?[\\/](?:home|Users)[\\/][^\\/]+")


def redacted_text(text: str) -> str:
    """Return a text with each secret in it replaced by "(hidden)".

    Secrets are tokens of known formats, private keys, the user and password of an address, parameters of an
    address such as `?token=`, and the values of environment variables that are named like a secret.
    """
    made = _TOKEN.sub(HIDDEN, text)
    made = _USER.sub(HIDDEN, made)
    made = _PARAMETER.sub(rf"\g<before>{HIDDEN}", made)
    made = _BEARER.sub(rf"\g<before>{HIDDEN}", made)
    for _, value in _secret_variables():
        made = made.replace(value, HIDDEN)
    return made


def _secret_variables() -> list[tuple[str, str]]:
    return [(k, v) for k, v in os.environ.items() if len(v) >= 8 and _SECRET_VARIABLE.search(k)]


def redacted(value: Any, name: str = "") -> Any:
    """Return plain data without secrets: texts as `redacted_text`, none under the name of a secret.

    Args:
        value: mappings, lists, texts, numbers.
        name: the key that the value stands under; dotted keys work too.
    """
    return _mapped(value, name, redacted_text)


def public(value: Any, name: str = "") -> Any:
    """Return plain data as they may be sent away: `redacted`, and with paths cut to their last names."""
    return _mapped(value, name, public_text)


def public_text(text: str) -> str:
    """Return a text without secrets and with each path cut to its last name."""
    cut = redacted_text(without_paths(text))
    return HIDDEN if leak(cut) else cut


def _mapped(value: Any, name: str, text: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(inner, str(key), text) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, name, text) for inner in value]
    if isinstance(value, str):
        return HIDDEN if value and _SECRET_NAME.search(name) else text(value)
    return value


def redacted_words(words: Iterable[str]) -> list[str]:
    """Return the arguments of a command without secrets: `data.token=x` and `--token x` by their names."""
    made: list[str] = []
    hide = False
    for word in words:
        name, equals, value = word.partition("=")
        if hide:
            made.append(HIDDEN)
        elif equals:
            made.append(f"{name}={redacted(value, name)}")
        else:
            made.append(redacted_text(word))
        hide = not hide and not equals and name.startswith("--") and bool(_SECRET_NAME.search(name))
    return made


def without_paths(text: str) -> str:
    """Return a text with each path of the file system shortened to its last name; addresses stay.

    Where the last name is that of a user, in a home folder's own path, it is "~".
    """

    def last_name(found: re.Match[str]) -> str:
        path = found["path"].rstrip("\\/")
        if not any(map(str.isalnum, path)):
            return found[0]
        if path == str(Path.home()) or _HOME.fullmatch(path):
            return found["before"] + "~"
        return found["before"] + re.split(r"[\\/]", path)[-1]

    return _PATH.sub(last_name, text)


def scrubbed(value: Any) -> Any:
    """Return plain data with the paths in all its texts shortened."""
    return _mapped(value, "", without_paths)


def leak(text: str) -> str | None:
    """Return what in a text must not be published, named without being shown, or None."""
    for name, value in _secret_variables():
        if value in text:
            return f"the value of the environment variable {name}"
    if redacted_text(text) != text:
        return "a text in the form of an access token, a private key or a password"
    folder = str(Path.home())
    if len(folder) > 1 and re.search(re.escape(folder) + r"(?![\w.-])", text):
        return "the path of your home folder"
    return None


def keep(folder: Path, flat: Mapping[str, Any]) -> None:
    """Store the secrets among a run's options, readable by their owner only, outside the run's folder.

    Args:
        folder: of the run.
        flat: its options by dotted name.

    Raises:
        OSError: where they can't be written.
    """
    secrets = {key: value for key, value in flat.items() if redacted(value, key) != value}
    path = _store(folder)
    if not secrets:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner only
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(secrets, file)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def kept(folder: Path, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's saved options with the secrets that `keep` stored in place of "(hidden)"."""
    if not any(HIDDEN in str(value) for value in flat.values()):
        return dict(flat)
    try:
        secrets = strict_json.read(_store(folder))
    except ZooError:
        secrets = {}
    found = secrets if isinstance(secrets, dict) else {}
    return {
        key: found[key] if key in found and redacted(found[key], key) == value else value
        for key, value in flat.items()
    }


def refuse_hidden(flat: Mapping[str, Any]) -> None:
    """Refuse options whose values were hidden when their run was saved, and that `kept` could not read back.

    Raises:
        UsageError: naming each option.
    """
    hidden = [key for key, value in flat.items() if HIDDEN in str(value)]
    if hidden:
        raise UsageError(
            f"{', '.join(hidden)} was hidden when the run was saved and is not stored on this machine",
            f"next: give it again: config=RUN {' '.join(f'{key}=VALUE' for key in hidden)}",
        )


def _store(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.absolute().resolve())).hexdigest()[:32]
    return home() / "private" / f"{name}.json"
