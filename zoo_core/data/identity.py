"""The identity of a run's data: their content, class names and splits, kept in the run's data.json.

Whatever uses data compares them with this record, and refuses data that changed. What samples can be
conditioned on is in the record too, so that drawing samples needs no data.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.dataset import Dataset, Domain
from zoo_core.data.table import Streamed, Table
from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.machine.files import read_bounded, write_atomic
from zoo_core.types import DataInfo, Task

RECORD = "data.json"
BYTES = 256 * 2**20
"""Largest record that is read."""
SHORT = 4
"""Bytes of each example's digest that are kept: enough to count which came and went."""
ROWS = 2**26
"""Most rows of a split that a record may claim: a record can come with a bundle of anyone."""
VALUES = 2**27
"""Most labels or tokens of a split that a record may claim."""
LARGEST = 2**24
"""Largest number of values of an example, of classes or of tokens that a record may claim."""
NAMED = 3
"""Classes that a message names."""

MALFORMED = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
"""What a record of the wrong form raises where it is used: anyone may have made it."""

Record = Mapping[str, Any]


def content_sha256(dataset: Dataset, fresh: bool = False) -> str:
    """Return the sha256 of all examples and labels.

    Args:
        dataset: as loaded.
        fresh: read and hash the files again where decoded images are cached; for other data the value was
            computed from the content when they were loaded.
    """
    return dataset.reread() if fresh and dataset.reread is not None else dataset.sha256


def digits(dataset: Dataset) -> str:
    """Return what a run's folder is named by beside its config: 6 digits of the content, or "".

    Only data of the user's own have some: what is published under a name does not change.
    """
    return dataset.sha256[:6] if dataset.by_content else ""


# -- the record


def _packed(values: Tensor | None) -> dict[str, Any] | None:
    if values is None:
        return None
    data = zlib.compress(values.cpu().to(torch.int32).numpy().tobytes())
    return {"shape": list(values.shape), "int32": base64.b64encode(data).decode()}


def _unpacked(packed: Record | None) -> Tensor | None:
    if packed is None:
        return None
    size = math.prod(packed["shape"])
    if not 0 <= size <= VALUES:
        raise ValueError(f"{size:,} values in one column; a record has at most {VALUES:,}")
    limit = 4 * size
    data = zlib.decompressobj().decompress(base64.b64decode(packed["int32"]), limit + 1)
    return torch.frombuffer(bytearray(data), dtype=torch.int32).reshape(packed["shape"]).long()


def _digests(table: Table) -> str:
    return base64.b64encode(b"".join(digest[:SHORT] for digest in table.digests)).decode()


def _split(table: Table) -> dict[str, Any]:
    return {
        "count": len(table),
        "columns": [name for name in ("image", "point", "source") if name in table],
        "label": _packed(table.label),
        "caption": _packed(table.tokens),
        "digests": _digests(table),
    }


def record(dataset: Dataset) -> dict[str, Any]:
    """Return the identity of data as plain data, and what samples can be conditioned on."""
    tables = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    origin = dataset.origin
    return {
        "schema": 1,
        "sha256": dataset.sha256,
        "class_names": list(dataset.class_names),
        "info": {**asdict(dataset.info), "shape": list(dataset.info.shape)},
        "splits": {name: _split(table) for name, table in tables.items() if table is not None},
        "tokenizer": None if dataset.tokenizer is None else asdict(dataset.tokenizer),
        "origin": None
        if origin is None
        else {"name": origin.name, "train": _split(origin.train), "test": _split(origin.test)},
        "stack_of": dataset.stack_of,
        "density": dataset.density is not None,
        "by_content": dataset.by_content,
    }


def read(folder: Path) -> Record | None:
    """Return the record in a run's folder, or None where there is none.

    Raises:
        MachineError: for a damaged one.
    """
    path = folder / RECORD
    try:
        found = json.loads(read_bounded(path, BYTES))
        if not isinstance(found, dict) or found.get("schema") != 1 or not isinstance(found["sha256"], str):
            raise ValueError("not a record of data")
        if found["info"]["task"] not in get_args(Task):
            raise ValueError("its task is unknown")
        if not isinstance(found["density"], bool):
            raise ValueError("`density` is neither true nor false")
    except NotFoundError:
        return None
    except (UsageError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> MachineError:
    return MachineError(
        f"{path} is damaged: {error}", "next: restore it, or remove the run's folder and train again"
    )


def write(folder: Path, dataset: Dataset) -> None:
    """Record the identity of data in a run's folder, where it has no record yet."""
    if not (folder / RECORD).exists():
        write_atomic(folder / RECORD, json.dumps(record(dataset)).encode())


# -- the comparison


def check(folder: Path, dataset: Dataset) -> None:
    """Compare data with those of the run in a folder, if there is one.

    Raises:
        UsageError: where they changed, with what changed.
        MachineError: for a damaged record.
    """
    found = read(folder)
    if found is None:
        found = _earlier(folder)
    try:
        lines = [] if found is None else changes(found, dataset)
    except MALFORMED as error:
        raise _damaged(folder / RECORD, error) from error
    if lines:
        raise UsageError(
            f"the data changed since the run in {folder} was made",
            *lines,
            "next: restore the data, or train on what is there now with another run_dir=...",
        )


def check_again(folder: Path, dataset: Dataset) -> str:
    """Hash the content of data again, compare them with those of the run in a folder, and return the hash.

    Raises:
        UsageError: where they changed, or the cache holds other images than the files.
    """
    sha256 = content_sha256(dataset, fresh=True)
    if sha256 != dataset.sha256:
        raise UsageError(
            "the cached images were not those of the files; they were decoded again",
            f"sha256: {dataset.sha256[:12]}... in the cache, {sha256[:12]}... in the files",
            "next: the same command again",
        )
    check(folder, dataset)
    return sha256


def trained_on(folder: Path) -> dict[str, str]:
    """Return name and sha256 of the data that the run in a folder was trained on; empty where it has neither.

    Raises:
        MachineError: for a damaged record.
    """
    found = read(folder)
    if found is None:
        earlier = _earlier(folder)
        return dict(earlier) if earlier is not None and "name" in earlier else {}
    name, sha256 = found["info"].get("name"), found["sha256"]
    if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise _damaged(folder / RECORD, ValueError("it names no data, or their sha256 is not one"))
    return {"name": name, "sha256": sha256}


def _earlier(folder: Path) -> Record | None:
    """Return what provenance.json says of a run without a record: the hash of its data, and their name."""
    try:
        found = json.loads((folder / "provenance.json").read_bytes())["data"]
        said = {key: found[key] for key in ("name", "sha256") if isinstance(found.get(key), str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return said if "sha256" in said else None


def changes(found: Record, dataset: Dataset) -> list[str]:
    """Return what differs between recorded data and these, one line each; nothing for the same data."""
    lines = _class_changes(found.get("class_names", dataset.class_names), dataset.class_names)
    splits = found.get("splits", {})
    tables = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    here = {name: table for name, table in tables.items() if table is not None}
    same = found["sha256"] == dataset.sha256
    if splits and not same:
        lines += _example_changes(splits, here)
    if splits:
        before = {name: split["count"] for name, split in splits.items()}
        now = {name: len(table) for name, table in here.items()}
        if before != now:
            counts = ("/".join(f"{n:,} {name}" for name, n in each.items()) for each in (before, now))
            lines.append("split: " + ", now ".join(counts))
    if not same and not lines:
        lines.append("labels, captions or the order of examples are different")
    if not same:
        lines.append(f"sha256: {found['sha256'][:12]}..., now {dataset.sha256[:12]}...")
    return lines


def _class_changes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    if list(before) == list(now):
        return []
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    if len(before) == len(now) and len(gone) == len(new) and gone:
        pairs = [(a, b) for a, b in zip(before, now, strict=True) if a != b]
        if len(pairs) == len(gone):
            shown = ", ".join(f"{a!r} is now {b!r}" for a, b in pairs[:NAMED])
            return [f"{len(pairs)} classes renamed: {shown}" + (", ..." if len(pairs) > NAMED else "")]
    lines = [
        f"{len(names)} classes {what}: {', '.join(names[:NAMED])}" + (", ..." if len(names) > NAMED else "")
        for what, names in (("added", new), ("removed", gone))
        if names
    ]
    return lines or ["the order of the classes is different"]


def _example_changes(splits: Record, tables: Mapping[str, Table]) -> list[str]:
    before: dict[str, Counter[bytes]] = {}
    for name, split in splits.items():
        data = base64.b64decode(split["digests"])
        before[name] = Counter(data[k : k + SHORT] for k in range(0, len(data), SHORT))
    now = {name: Counter(digest[:SHORT] for digest in table.digests) for name, table in tables.items()}
    whole_before, whole_now = (sum(each.values(), Counter()) for each in (before, now))
    if not whole_before or not whole_now:
        return []
    added, removed = (whole_now - whole_before).total(), (whole_before - whole_now).total()
    stayed = sum((before[name] & now[name]).total() for name in before if name in now)
    moved = (whole_before & whole_now).total() - stayed
    found = (("added", added), ("removed", removed), ("moved to another split", moved))
    return [f"{count:,} examples {what}" for what, count in found if count]


# -- a run's data without the data


def stored(folder: Path, load: Callable[[], Dataset]) -> Dataset | None:
    """Return the data of a run as its record has them; examples are read when they are first asked for.

    Args:
        folder: of the run.
        load: returns the data themselves; called at most once, and what it returns is checked.

    Returns:
        None where the run has no such record, or its data have a closed form, which a record has not.

    Raises:
        MachineError: for a damaged record.
    """
    found = read(folder)
    if found is None or found["density"]:
        return None

    @cache
    def opened() -> Dataset:
        dataset = load()
        check(folder, dataset)
        return dataset

    def table(split: Record, name: str) -> Table:
        get: Callable[[Dataset], Table] = attrgetter(name)
        if not 0 < split["count"] <= ROWS:
            raise ValueError(f"{split['count']:,} rows; a record has at most {ROWS:,}")
        rows = torch.arange(split["count"])

        def column(name: str) -> Streamed:
            return Streamed(lambda places: get(opened()).rows(places)[name], rows)

        columns = {name: column(name) for name in split["columns"]}
        return Table(columns).having(label=_unpacked(split["label"]), caption=_unpacked(split["caption"]))

    try:
        splits = {name: table(split, name) for name, split in found["splits"].items()}
        origin = found["origin"] and Domain(
            found["origin"]["name"],
            table(found["origin"]["train"], "origin.train"),
            table(found["origin"]["test"], "origin.test"),
        )
        words = found["tokenizer"]
        if not all(isinstance(name, str) for name in found["class_names"]):
            raise ValueError("class_names are not a list of names")
        return Dataset(
            info=_info(found["info"]),
            train=splits["train"],
            test=splits["test"],
            validation=splits.get("validation"),
            sha256=found["sha256"],
            class_names=tuple(found["class_names"]),
            tokenizer=None if words is None else Tokenizer(tuple(words["words"]), words["length"]),
            origin=origin or None,
            stack_of=found["stack_of"],
            by_content=found["by_content"],
        )
    except (*MALFORMED, RuntimeError, zlib.error) as error:
        raise _damaged(folder / RECORD, error) from error


def _info(found: Record) -> DataInfo:
    info = DataInfo(**{**found, "shape": tuple(found["shape"])})
    sizes = (*info.shape, info.levels or 0, info.classes, info.vocabulary, info.caption_length)
    if not all(
        isinstance(size, int) and 0 <= size <= LARGEST
        for size in (*sizes, info.image_channels, info.image_levels or 0)
    ):
        raise ValueError("a size in `info` is not a whole number within its bounds")
    if not 0 < info.dims <= LARGEST:
        raise ValueError(f"{info.dims:,} values in one example; a record has at most {LARGEST:,}")
    return info
