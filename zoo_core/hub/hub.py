"""The Hugging Face hub, through huggingface_hub: a folder up, a snapshot at a pinned commit down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core.errors import MachineError, NotFoundError, UsageError, ZooError
from zoo_core.hub.address import Hub
from zoo_core.hub.bundle import LIMITS, MANIFEST, check_names


def client() -> Any:
    """Return the hub's client; it finds HF_TOKEN, or the token that `hf auth login` kept."""
    from huggingface_hub import HfApi

    return HfApi(library_name="genzoo")


@contextlib.contextmanager
def explained(place: Hub, verb: str, instead: str) -> Iterator[None]:
    """Turn what the hub and the network raise into a sentence and the next command.

    Args:
        place: the repository.
        verb: "push to" or "pull from".
        instead: what to do without a network.
    """
    from huggingface_hub import errors

    what = f"can't {verb} {place}"
    try:
        yield
    except ZooError:
        raise
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{what}: its owner grants access by request",
            f"next: ask at https://huggingface.co/{place.repo}, then hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFoundError(f"{what}: it has no revision {place.revision!r}") from error
    except errors.LocalTokenNotFoundError as error:
        raise _no_token(what) from error
    except errors.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"{what}: there is no such repository, or it is private",
            f"see: https://huggingface.co/{place.repo}",
            "next: where it is private, hf auth login, or set HF_TOKEN",
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise _no_token(what) from error
        raise MachineError(f"{what}: the hub answered with status {status}", "next: try again") from error
    except Exception as error:  # each version of the library brings its own network's errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MachineError(
            f"{what}: {reason}"[:200], f"next: with a network, the same again; {instead}"
        ) from error


def _no_token(what: str) -> UsageError:
    return UsageError(
        f"{what}: the hub does not know you, or does not let you write there",
        "next: hf auth login, or set HF_TOKEN to a token that may write (huggingface.co/settings/tokens)",
    )


def upload(folder: Path, place: Hub, *, private: bool = False) -> str:
    """Send a bundle's files to a repository, made where there is none, and return the commit.

    Raises:
        UsageError: without a token that may write there; for an address with a revision.
        MachineError: without a network.
    """
    if place.revision:
        raise UsageError(
            f"a push makes a revision of its own: {place}", f"expected: hf://{place.repo}, without @"
        )
    with explained(place, "push to", "without one, zoo push RUN FOLDER"):
        api = client()
        api.create_repo(place.repo, private=private, exist_ok=True)
        sent = api.upload_folder(
            repo_id=place.repo,
            folder_path=str(folder),
            commit_message="zoo push",
            delete_patterns=list(LIMITS),  # a file of an earlier push that this one has not
        )
    return str(sent.oid)


def download(place: Hub, into: Path) -> str:
    """Fetch a bundle's files at one commit into a folder, and return the commit.

    The listing is evaluated before anything is fetched; the commit is pinned between the two.

    Raises:
        NotFoundError: where there is no such repository or revision.
        UsageError: where the listing holds a pickle or a file too large.
        MachineError: without a network.
    """
    with explained(place, "pull from", "without one, copy the bundle here and zoo pull FOLDER"):
        api = client()
        info = api.model_info(place.repo, revision=place.revision or None, files_metadata=True)
        check_names({file.rfilename: file.size or 0 for file in info.siblings}, str(place))
        if MANIFEST not in [file.rfilename for file in info.siblings]:
            raise NotFoundError(
                f"{place} holds no bundle: it has no {MANIFEST}", "a bundle is made by: zoo push RUN ADDRESS"
            )
        api.snapshot_download(
            place.repo, revision=info.sha, local_dir=str(into), allow_patterns=[MANIFEST, *LIMITS]
        )
    return str(info.sha)
