"""Image data sets of the Hugging Face Hub, read by the `datasets` library: data=hf:NAME."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from zoo_core.data.adapters import IMAGE_COLUMNS, LABEL_COLUMNS, Part, own_data, split_off
from zoo_core.data.configs import FolderConfig, HubConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.image_files import conversions_of
from zoo_core.data.images import BadImage, convert
from zoo_core.data.labels import checked_labels
from zoo_core.errors import MachineError, UsageError, ZooError, beginning
from zoo_core.machine.faults import machine_error

NAMED = 5


def load(config: HubConfig) -> Dataset:
    """Return a data set of the Hub, uint8 0 to 255, (channels, size, size), decoded into memory.

    Raises:
        UsageError: for a data set, split or column that is not there, and images that can't be decoded.
        MachineError: where the `datasets` library is missing or the Hub can't be reached.
    """
    if not config.repo:
        raise UsageError("data=hf needs to know which data set", "next: data=hf:NAME, e.g. data=hf:user/name")
    splits = _opened(config)
    train = _split(splits, config.train_split, "data.train_split")
    image = _column(train, config.image_column, "data.image_column", IMAGE_COLUMNS)
    has_label = config.label_column or next((name for name in LABEL_COLUMNS if name in train.features), "")
    label = _column(train, has_label, "data.label_column", ()) if has_label else ""
    report = [f"columns read: {image} as image" + (f", {label} as label" if label else "; no labels")]
    notes: dict[str, int] = {}
    x, y = _arrays(splits, config.train_split, image, label, config, notes)
    test_name = config.test_split or next((n for n in ("test", "validation") if n in splits), "")
    if test_name:
        report.append(f"split {test_name!r} of {config.repo} is the test split")
        test = _split(splits, test_name, "data.test_split")
        _column(test, image, "data.image_column", ())
        if label and _names(test, _column(test, label, "data.label_column", ())) != _names(train, label):
            raise UsageError(
                f"column {label} of {config.repo} has different classes in {config.train_split} and"
                f" {test_name}",
                "next: data.test_split= another split",
            )
        parts = [(x, y), _arrays(splits, test_name, image, label, config, notes)]
    else:
        parts = split_off(x, y, config.holdout)
        held = len(parts[1][0])
        report.append(f"{held:,} of {len(x):,} images held out for testing (data.holdout)")
        if not held:
            raise UsageError(f"{config.repo} has {len(x)} image", "expected: at least 2, one to test on")
    report += conversions_of(notes, config.size)
    return own_data("hf", parts, _names(train, label), report)


def _opened(config: HubConfig) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MachineError(
            "data=hf: needs the `datasets` library, which is not installed",
            'next: pip install "genzoo[hf]"',
        ) from error
    try:
        return datasets.load_dataset(config.repo, config.subset or None, revision=config.revision or None)
    except (ZooError, MemoryError):
        raise
    except ImportError as error:  # a format of files may need a further library
        raise MachineError(f"data set {config.repo!r} needs a library: {error}") from error
    except Exception as error:  # the library raises many classes: for the name, the network, its files
        if fault := machine_error(error):
            raise fault from error
        lines = str(error).strip().splitlines()
        raise UsageError(
            f"data set {config.repo!r} of the Hugging Face Hub can't be loaded",
            f"reason: {lines[0] if lines else type(error).__name__}",
            "next: check the name (user/name), data.subset and the network",
        ) from error


def _split(splits: Any, name: str, option: str) -> Any:
    if name not in splits:
        raise UsageError(
            f"the data set has no split {name!r}", f"expected: {option}= one of {', '.join(map(str, splits))}"
        )
    return splits[name]


def _column(table: Any, asked: str, option: str, usual: Sequence[str]) -> str:
    names = list(table.features)
    if asked in names:
        return asked
    found = [name for name in usual if name in names]
    if not asked and found:
        return found[0]
    raise UsageError(
        f"the data set has no column {asked or 'of images that can be told by its name'}",
        f"expected: {option}= one of {', '.join(names)}",
    )


def _names(table: Any, label: str) -> tuple[str, ...]:
    """Return the class names of a column of labels; none where it has none."""
    return tuple(getattr(table.features[label], "names", None) or ()) if label else ()


def _arrays(splits: Any, name: str, image: str, label: str, config: HubConfig, notes: dict[str, int]) -> Part:
    """Return the images and labels of a split; conversions are counted in notes."""
    table = splits[name]
    as_folder = FolderConfig(
        size=config.size, channels=config.channels, resize=config.resize, background=config.background
    )
    images, bad = [], []
    for k in range(len(table)):
        try:
            made = convert(table[k][image], as_folder)
        except OSError as error:
            if fault := machine_error(error):
                raise fault from error
            bad.append(f"row {k}: {error}")
            continue
        except (BadImage, AttributeError, ValueError) as error:
            bad.append(f"row {k}: {error}")
            continue
        images.append(torch.from_numpy(made.levels))
        for note in made.notes:
            notes[note] = notes.get(note, 0) + 1
    if bad or not images:
        what = f"{len(bad)} of {len(table)} images of {config.repo} can't be used"
        raise UsageError(what, *beginning(bad, NAMED))
    if not label:
        return torch.stack(images), None
    where = f"column {label} of split {name} of {config.repo}"
    return torch.stack(images), checked_labels(table[label], where, "next: data.label_column= another column")
