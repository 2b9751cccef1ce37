"""The pages of samplers and datasets. What a sampler's spec does not say is measured on Gaussian data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from pages import NOTE
from pages.specs import ours, paper_link
from pages.tables import code, option_table, prose, table
from zoo_core.config import SamplerConfig, options
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.seeds import Seeds
from zoo_core.testing.samplers import CASES, MEAN, STD, SamplerSubject, subjects

SAMPLERS = """\
# Samplers

Choose a sampler here. A sampler turns noise into samples with any denoiser: `sampler=NAME` works with every
diffusion and flow model, and `sample.steps=N` sets the number of steps. They are options of a run:

```sh
zoo run plugin=ddpm sampler=heun sample.steps=18  # minutes
zoo samplers
```

**Steps** is the default of N. **NFE** is the number of model evaluations for one sample, for N steps.
**Order** is that of the error of a deterministic sampler: with order 2, twice the steps leave a quarter
of the error. NFE and order are measured by the script that writes this page, with the exact denoiser of
Gaussian data; a sampler that draws noise has no order here. **Denoisers** says whether the sampler needs
trained noise levels or continuous ones. `diffusers:NAME` is any scheduler of that library.
[Diffusion](families/diffusion.md#samplers) has the equations, and compares the samplers on a trained
model.
"""

DATASETS = """\
# Datasets

Choose data here: `data=NAME`. The datasets marked *included* need no download. The others are downloaded
once, from the source that is named, whose license applies.

```sh
zoo datasets
zoo run plugin=vae data=mnist           # network
zoo run plugin=vae data=folder data.path=FOLDER
```

**Features** is the default feature network of the distances between distributions; `eval.extractor` chooses
another. **Tasks** are what a model can learn: x alone (`unconditional`), x given its class (`class`) or its
caption (`text`), pairs of an image and its source (`paired`), two domains (`unpaired`), views of one
object (`views`), or captions alone or given their image (`caption`).
"""

EMOJI = """
A class of `emoji` and `emoji-twitter` is a category of Unicode's. Each image has one of 98 subcategories
too, such as `country-flag` (259 images) and `face-smiling`. They can't be chosen as classes, since some have
one image and none in the test split. The rows of a file have them, in the order of its images:

```python
from zoo_core.data import emoji

images, rows = emoji.read("emoji")
animals = [k for k, row in enumerate(rows) if row["subcategory"] == "animal-mammal"]
print(len(animals), images[animals].shape, rows[animals[0]]["name"])
```
"""


class Behavior(NamedTuple):
    """What a sampler does with the exact denoiser.

    Attributes:
        nfe: model evaluations as a formula of N steps.
        order: "1", "2", ..., "stochastic", or "" where it was not measured.
        denoisers: which noise levels it works with.
    """

    nfe: str
    order: str
    denoisers: str


def samplers_page() -> str:
    """Return the page of samplers."""
    specs = ours("sampler")
    rows = (
        (
            f"[{code(spec.name)}](#{spec.name})" if _own_options(spec) else code(spec.name),
            re.sub(r"(?<=\w):(?=\w)", ":<wbr>", prose(spec.summary)),
            f"{spec.steps:,}",
            *behavior(spec),
            paper_link(spec.paper).replace("[arXiv:", "["),
        )
        for spec in specs
    )
    head = ("sampler", "method", "steps", "NFE", "order", "denoisers", "paper")
    parts = [SAMPLERS, *table(head, rows)[1:], "\n## Options"]
    for spec in specs:
        if own := _own_options(spec):
            parts += [f"\n### {spec.name}\n", f"Code: {code(spec.target)}.", *option_table(own)]
    return NOTE + "\n".join(parts) + "\n"


def _own_options(spec: Any) -> list[Any]:
    config = load_entry("sampler", manager().find("sampler", spec.name), "config")
    return [
        (f"sampler.{key}", info) for key, info in options(config) if key not in SamplerConfig.model_fields
    ]


def behavior(spec: Any) -> Behavior:
    """Return what a sampler does; the schedulers of another library differ, and are not measured."""
    found = list(subjects(Entry(spec, "genzoo")))
    levels = "any" if len(found) == len(CASES) else found[0].case
    if spec.parts:
        return Behavior("by scheduler", "by scheduler", levels)
    return Behavior(_nfe(found[0]), _order(found[0]), levels)


def _sample(subject: SamplerSubject, steps: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return (start, end, model evaluations) of 16 values in float64; the seed is that of the later noise."""
    denoiser, sampler = subject.denoiser, subject.bound
    start = Seeds(0, range(16)).randn((1,)).double() * denoiser.prior_std
    grid = sampler.grid(denoiser, steps).double()
    end = sampler.function(denoiser, start, grid, noise=Seeds(seed, range(16)), **sampler.options)
    return start, end, denoiser.calls


def _nfe(subject: SamplerSubject) -> str:
    a, b, c = (_sample(subject, steps)[2] for steps in (4, 8, 16))
    each, rest = divmod(b - a, 4)
    if rest or c - b != 8 * each or each == 0:
        return "adaptive"
    constant = a - 4 * each
    return f"{each if each > 1 else ''}N" + (
        f" {'+' if constant > 0 else '-'} {abs(constant)}" if constant else ""
    )


def _order(subject: SamplerSubject) -> str:
    if not torch.equal(_sample(subject, 8, seed=1)[1], _sample(subject, 8, seed=2)[1]):
        return "stochastic"
    if _nfe(subject) == "adaptive":
        return "adaptive"
    errors = []
    for steps in (200, 400):
        start, end, _ = _sample(subject, steps)
        errors.append(float((end - _exact(subject, start)).norm()))
    return str(round(math.log2(errors[0] / errors[1])))


def _exact(subject: SamplerSubject, start: torch.Tensor) -> torch.Tensor:
    """Return where the probability flow ends: along it to the least level, then Tweedie's formula."""
    least, most = subject.denoiser.sigma_min, subject.denoiser.sigma_max
    gain = math.sqrt((STD**2 + least**2) / (STD**2 + most**2)) * STD**2 / (STD**2 + least**2)
    return MEAN + gain * (start - MEAN)


def datasets_page() -> str:
    """Return the page of datasets: those of images, of points, and the reader's own."""
    kinds: dict[str, list[Any]] = {"Images": [], "Points in the plane": [], "Your own data": []}
    for spec in ours("dataset"):
        own = spec.source.startswith(("the user", "the Hugging"))
        kinds["Your own data" if own else "Images" if spec.levels else "Points in the plane"].append(spec)
    parts = [DATASETS]
    for title, specs in kinds.items():
        parts += [f"\n## {title}", *table(_HEAD, map(_dataset, specs))]
        parts += [EMOJI] if title == "Images" else []
    return NOTE + "\n".join(parts) + "\n"


_HEAD = ("dataset", "content and source", "shape", "levels", "classes", "tasks", "features")


def _dataset(spec: Any) -> Iterator[str]:
    yield code(spec.name)
    included = "" if re.match("torchvision|the ", spec.source) else " (*included*)"
    yield f"{prose(spec.summary)}<br>Source: {prose(spec.source)}{included}"
    yield "x".join(map(str, spec.shape)) or "any"
    yield "continuous" if spec.levels is None else str(spec.levels)
    yield f"{spec.classes:,}" if spec.classes else "none" if spec.shape else "as given"
    yield ", ".join(spec.tasks)
    yield code(spec.extractor)
