"""The data sets that the library brings."""

from __future__ import annotations

from typing import Any

from zoo_core.registry.spec import DatasetSpec

_MADE = "drawn by the zoo from a fixed seed"
_LABELED = ("unconditional", "class")
_CAPTIONED = (*_LABELED, "text", "caption")
_PAIRS = ("paired", "unpaired", "views")
_OF_IMAGES = (*_LABELED, *_PAIRS)


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
        source=f"{source}, names from Unicode data",
        tasks=(*_CAPTIONED, *_PAIRS),
    )


def _benchmark(name: str, summary: str, shape: tuple[int, ...], source: str, **more: Any) -> DatasetSpec:
    """Return a published dataset of ten classes, which torchvision finds and checks."""
    target = "zoo_core.data.benchmarks:load"
    usual: dict[str, Any] = {"target": target, "levels": 256, "classes": 10, "tasks": _OF_IMAGES}
    return DatasetSpec(name, summary=summary, shape=shape, source=f"torchvision ({source})", **usual | more)


def _files(name: str, summary: str, target: str, config: str, source: str, **more: Any) -> DatasetSpec:
    """Return a dataset of color images of which a config says the size."""
    usual: dict[str, Any] = {"levels": 256, "tasks": _OF_IMAGES}
    here = "zoo_core.data"
    return DatasetSpec(name, f"{here}.{target}", f"{here}.{config}", summary, source=source, **usual | more)


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
    _toy("moons", "two noisy half-circles in the plane; exact density", classes=2),
    _toy("ring", "eight Gaussians on a circle in the plane; exact density", classes=8),
    _toy("two-gaussians", "two Gaussians with weights 1/5 and 4/5; exact density", classes=2),
    _toy("swiss-roll", "a noisy spiral in the plane; exact density", classes=0),
    DatasetSpec(
        name="stacked-digits",
        target="zoo_core.data.digits:load_stacked",
        summary="images of three handwritten digits, one per channel: 1,000 modes",
        shape=(3, 8, 8),
        levels=17,
        classes=1000,
        extractor="raw",
        source="scikit-learn's load_digits, stacked by the zoo from a fixed seed",
        tasks=_OF_IMAGES,
    ),
    _emoji(
        "emoji",
        "1,906 color icons (Noto emoji), 9 categories, named; no download",
        "Noto emoji 2.048 (Apache License 2.0)",
        config="zoo_core.data.emoji:EmojiConfig",
    ),
    _emoji(
        "emoji-twitter",
        "the same emoji in the Twemoji design",
        "Twemoji 16.0.1 (CC BY 4.0)",
        config="zoo_core.data.emoji:DesignConfig",
    ),
    _benchmark(
        "mnist",
        "70,000 handwritten digits",
        (1, 28, 28),
        "LeCun, Cortes and Burges 1998",
        extractor="mnist",
        tasks=(*_CAPTIONED, *_PAIRS),
    ),
    _benchmark(
        "mnist-binarized",
        "binary MNIST: each gray value is a probability, sampled anew in training",
        (1, 28, 28),
        "LeCun, Cortes and Burges 1998",
        target="zoo_core.data.binarized:load",
        levels=2,
        extractor="mnist",
        tasks=_CAPTIONED,
    ),
    _benchmark(
        "fashion-mnist",
        "70,000 gray images of clothing in ten classes",
        (1, 28, 28),
        "Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
    ),
    _benchmark(
        "cifar10",
        "60,000 color photographs of 32x32 pixels in ten classes",
        (3, 32, 32),
        "Krizhevsky 2009",
    ),
    _benchmark(
        "svhn",
        "99,289 digits of street numbers in photographs",
        (3, 32, 32),
        "Netzer et al. 2011",
    ),
    _benchmark(
        "stl10",
        "13,000 photographs of ten things, 96x96",
        (3, 96, 96),
        "Coates, Ng and Lee 2011",
    ),
    _files(
        "celeba",
        "202,599 faces of celebrities; data.attribute=Smiling for two classes",
        "photographs:load_celeba",
        "photographs:CelebAConfig",
        "torchvision (Liu et al. 2015, arXiv:1411.7766)",
    ),
    _files(
        "flowers102",
        "8,189 photographs of 102 kinds of flowers",
        "photographs:load_flowers",
        "photographs:FlowersConfig",
        "torchvision (Nilsback and Zisserman 2008)",
        classes=102,
    ),
    _files(
        "folder",
        "your own images: data.path=FOLDER",
        "folder:load",
        "configs:FolderConfig",
        "the user's files",
    ),
    _files(
        "captioned-folder",
        "your own images with captions: data.path=FOLDER data.text=FOLDER",
        "captioned_folder:load",
        "configs:CaptionedFolderConfig",
        "the user's files",
        tasks=(*_CAPTIONED, *_PAIRS),
    ),
    _files(
        "hf",
        "an image dataset of the Hugging Face Hub: data=hf:NAME",
        "hub:load",
        "configs:HubConfig",
        "the Hugging Face Hub",
    ),
    _files(
        "python",
        "arrays or a torch Dataset from Python: zoo_core.run(dataset=...)",
        "adapters:load",
        "configs:PythonConfig",
        "the user's program",
        extractor="raw",
    ),
]
