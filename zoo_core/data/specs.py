"""The data sets that the library brings."""

from __future__ import annotations

from zoo_core.registry.spec import DatasetSpec

_MADE = "drawn by the zoo from a fixed seed"
_LABELED = ("unconditional", "class")
_CAPTIONED = (*_LABELED, "text")
_PAIRS = ("paired", "unpaired", "views")


def _toy(name: str, summary: str, classes: int) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target="zoo_core.data.toy:load",
        summary=summary,
        shape=(2,),
        classes=classes,
        extractor="raw",
        source=_MADE,
        tasks=_LABELED if classes else ("unconditional",),
    )


def _emoji(name: str, summary: str, source: str, config: str = "zoo_core.config:DataConfig") -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target="zoo_core.data.emoji:load",
        config=config,
        summary=summary,
        shape=(3, 32, 32),
        levels=256,
        classes=9,
        extractor="effnet-lite0",
        source=f"{source}, names from Unicode data",
        tasks=(*_CAPTIONED, *_PAIRS),
    )


DATASETS: list[DatasetSpec] = [
    DatasetSpec(
        name="digits",
        target="zoo_core.data.digits:load",
        summary="1,797 real handwritten digits, 17 gray levels, no download",
        shape=(1, 8, 8),
        levels=17,
        classes=10,
        extractor="digits",
        source="scikit-learn's load_digits (UCI, Alpaydin and Kaynak 1998)",
        tasks=(*_CAPTIONED, *_PAIRS),
    ),
    _toy("moons", "two half-circles, blurred; exact density", classes=2),
    _toy("ring", "eight Gaussians on a circle; exact density", classes=8),
    _toy("two-gaussians", "two Gaussians of weight 1/5 and 4/5; exact density", classes=2),
    _toy("swiss-roll", "a spiral, blurred; exact density", classes=0),
    DatasetSpec(
        name="stacked-digits",
        target="zoo_core.data.digits:load_stacked",
        summary="three handwritten digits an image, one a channel: 1,000 modes to miss",
        shape=(3, 8, 8),
        levels=17,
        classes=1000,
        extractor="raw",
        source="scikit-learn's load_digits, stacked by the zoo from a fixed seed",
        tasks=(*_LABELED, *_PAIRS),
    ),
    _emoji(
        "emoji",
        "1,906 color icons (Noto emoji), 9 categories, named; no download",
        "Noto emoji 2.048 (Apache License 2.0)",
        config="zoo_core.data.emoji:EmojiConfig",
    ),
    _emoji("emoji-twitter", "the same emoji as drawn for Twemoji", "Twemoji 16.0.1 (CC BY 4.0)"),
    DatasetSpec(
        name="mnist",
        target="zoo_core.data.benchmarks:load",
        summary="70,000 handwritten digits",
        shape=(1, 28, 28),
        levels=256,
        classes=10,
        extractor="mnist",
        source="torchvision (LeCun, Cortes and Burges 1998)",
        tasks=(*_CAPTIONED, *_PAIRS),
    ),
    DatasetSpec(
        name="mnist-binarized",
        target="zoo_core.data.binarized:load",
        summary="MNIST of two levels: each gray value a probability, drawn anew in training",
        shape=(1, 28, 28),
        levels=2,
        classes=10,
        extractor="mnist",
        source="torchvision (LeCun, Cortes and Burges 1998)",
        tasks=_CAPTIONED,
    ),
    DatasetSpec(
        name="fashion-mnist",
        target="zoo_core.data.benchmarks:load",
        summary="70,000 pieces of clothing",
        shape=(1, 28, 28),
        levels=256,
        classes=10,
        extractor="inception",
        source="torchvision (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)",
        tasks=(*_LABELED, *_PAIRS),
    ),
    DatasetSpec(
        name="cifar10",
        target="zoo_core.data.benchmarks:load",
        summary="60,000 small photographs of ten things",
        shape=(3, 32, 32),
        levels=256,
        classes=10,
        extractor="inception",
        source="torchvision (Krizhevsky 2009)",
        tasks=(*_LABELED, *_PAIRS),
    ),
    DatasetSpec(
        name="folder",
        target="zoo_core.data.folder:load",
        config="zoo_core.data.configs:FolderConfig",
        summary="your own images: data.path=FOLDER",
        levels=256,
        extractor="inception",
        source="the user's files",
        tasks=(*_LABELED, *_PAIRS),
    ),
    DatasetSpec(
        name="captioned-folder",
        target="zoo_core.data.captioned_folder:load",
        config="zoo_core.data.configs:CaptionedFolderConfig",
        summary="your own images with captions: data.path=FOLDER data.text=FOLDER",
        levels=256,
        extractor="inception",
        source="the user's files",
        tasks=(*_CAPTIONED, *_PAIRS),
    ),
    DatasetSpec(
        name="hf",
        target="zoo_core.data.hub:load",
        config="zoo_core.data.configs:HubConfig",
        summary="an image data set of the Hugging Face Hub: data=hf:NAME",
        levels=256,
        extractor="inception",
        source="the Hugging Face Hub",
        tasks=(*_LABELED, *_PAIRS),
    ),
    DatasetSpec(
        name="python",
        target="zoo_core.data.adapters:load",
        config="zoo_core.data.configs:PythonConfig",
        summary="arrays or a torch Dataset of a program: zoo_core.run(dataset=...)",
        levels=256,
        extractor="raw",
        source="the user's program",
        tasks=(*_LABELED, *_PAIRS),
    ),
]
