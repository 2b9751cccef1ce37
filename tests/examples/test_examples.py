"""The distributions under examples/: written from the documentation, on the public core only, and right."""

from __future__ import annotations

import ast
import importlib
import math
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import zoo_core
from tests.conftest import CHECKOUT
from zoo_core.diffusion.samplers import heun
from zoo_core.registry.index import load_index
from zoo_core.registry.manager import Manager, manager, standing_in
from zoo_core.registry.metrics import direction
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.testing import checks, perform, subjects

EXAMPLES = sorted(path.parent for path in (CHECKOUT / "examples").glob("*/pyproject.toml"))
OURS = ("zoo_vae", "zoo_gan", "zoo_ddpm", "zoo_ncsn", "zoo_sde", "zoo_baselines", "zoo_eval")


def declared(example: Path) -> dict[str, str]:
    """Return the entry points of an example's distribution."""
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    points: dict[str, str] = project["entry-points"]["zoo"]
    return points


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """All examples beside what is installed."""
    for example in EXAMPLES:
        monkeypatch.syspath_prepend(str(example))
    points = [EntryPoint(name, value, "zoo") for e in EXAMPLES for name, value in declared(e).items()]
    here = manager()
    ours = [EntryPoint(s.entry_point, s.module, "zoo") for s in here.sources]
    taken = {point.name for point in ours}
    with standing_in(Manager([*ours, *(p for p in points if p.name not in taken)])) as there:
        yield there


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    for example in EXAMPLES:
        monkeypatch.syspath_prepend(str(example))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_it_imports_the_public_core_only(example: Path) -> None:
    """Catches an example that a third party could not have written, and a third source file of a model."""
    for source in example.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & set(OURS), source
            private = [n for n in names if n.startswith("zoo_core") and "._" in n]
            assert not private, source


@pytest.mark.slow(depends=("zoo_core", "evaluation", "examples"))
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_registry_yaml_says_how_it_is_installed(example: Path, present: Manager) -> None:
    """Catches an index that lists a folder, or a name, that is not there."""
    listed = [entry for entry in load_index().plugins if entry.package == example.name]
    assert listed
    for entry in listed:
        assert (CHECKOUT / entry.source).resolve() == example
        assert present.find(entry.kind, entry.name)


@pytest.mark.slow(depends=("zoo_core", "evaluation", "examples"))
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("plugin", "relativistic-gan"),
        ("sampler", "churn"),
        ("dataset", "spirals"),
        ("metric", "latent-smoothness"),
    ],
)
def test_it_passes_the_conformance_kit(kind: str, name: str, present: Manager, home: Path) -> None:
    results = [perform(check, one) for one in subjects(kind, name) for check in checks(kind)]
    assert [result for result in results if result.state == "failed"] == []
    assert sum(result.state == "passed" for result in results) > len(results) / 2


# -- the relativistic GAN


@pytest.mark.usefixtures("path")
def test_the_loss_is_the_papers() -> None:
    """Against binary cross-entropy of the averaged discriminator, arXiv:1807.00734, section 4.2."""
    model = importlib.import_module("zoo_relativistic_gan.model")
    real, fake = torch.randn(9), torch.randn(9)
    above, below = real - fake.mean(), fake - real.mean()
    one, zero = torch.ones(9), torch.zeros(9)
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(model.relativistic_loss(real, fake), (bce(above, one) + bce(below, zero)) / 2)
    assert float(model.relativistic_loss(zero, zero)) == pytest.approx(math.log(2))
    shifted = model.relativistic_loss(real + 5, fake + 5)
    torch.testing.assert_close(shifted, model.relativistic_loss(real, fake))  # only differences count


@pytest.mark.usefixtures("path")
def test_real_data_teach_the_generator() -> None:
    """Catches a generator's loss in which the real side is a constant: its scores bear a gradient."""
    model = importlib.import_module("zoo_relativistic_gan.model")
    real, fake = torch.randn(9, requires_grad=True), torch.randn(9, requires_grad=True)
    model.relativistic_loss(fake, real).backward()
    assert real.grad is not None
    assert bool((real.grad > 0).all())  # less real is better for the generator
    assert fake.grad is not None
    assert bool((fake.grad < 0).all())


# -- the sampler and the dataset


def _unit(x: torch.Tensor, sigma: torch.Tensor, cond: Any = None) -> torch.Tensor:
    return x / (1 + sigma**2)


SIGMAS = torch.cat((torch.logspace(1, -2, 25, dtype=torch.float64), torch.zeros(1)))


@pytest.mark.usefixtures("path")
def test_without_churn_it_is_heuns_method() -> None:
    churned = importlib.import_module("zoo_spirals.sampler").churned_heun
    start = 10 * torch.randn(8, 2, dtype=torch.float64)
    ours = churned(_unit, start, SIGMAS, noise=Seeds(0, range(8)), churn=0.0)
    torch.testing.assert_close(ours, heun(_unit, start, SIGMAS, noise=Seeds(0, range(8))))


@pytest.mark.usefixtures("path")
def test_churn_keeps_each_levels_variance() -> None:
    """Catches noise of the wrong size: at level s, data N(0, 1) have variance 1 + s^2 throughout."""
    churned = importlib.import_module("zoo_spirals.sampler").churned_heun
    noise = Seeds(0, range(4000))
    start = noise.randn((1,)).double() * 101**0.5
    seen: list[tuple[float, float]] = []

    def watch(step: int, sigma: torch.Tensor, x: torch.Tensor, x0: torch.Tensor) -> None:
        seen.append((float(sigma), float(x.var())))

    churned(_unit, start, SIGMAS, noise=noise, callback=watch, churn=0.3)
    assert max(sigma for sigma, _ in seen) == pytest.approx(10)  # never above what was trained
    for sigma, variance in seen:
        assert variance == pytest.approx(1 + sigma**2, rel=0.12)


@pytest.mark.usefixtures("path")
def test_the_density_is_a_mixture_along_the_arms() -> None:
    """Against torch's mixture of many more, evenly spaced nodes."""
    spirals = importlib.import_module("zoo_spirals.dataset")
    t = (torch.arange(6000, dtype=torch.float64) + 0.5) / 6000
    means = torch.cat([spirals.arm(t, torch.full_like(t, which)) for which in (0.0, 1.0)])
    cov = spirals.STD**2 * torch.eye(2, dtype=torch.float64)
    truth = MixtureSameFamily(
        Categorical(torch.ones(len(means), dtype=torch.float64)), MultivariateNormal(means, cov)
    )
    x = means[::149] + 0.03
    torch.testing.assert_close(spirals.Spirals().log_prob(x), truth.log_prob(x), atol=1e-5, rtol=0)


def test_no_example_is_loaded_by_accident() -> None:
    """Catches a test that leaves an example on the path: the kit would then find it installed."""
    assert not [path for path in sys.path if "examples" in Path(path).parts and "zoo-plugin" in path]


# -- the metric


class Latent:
    """A linear generator of points from one normal latent."""

    latent_shape = (2,)

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def from_latents(self, z: torch.Tensor, request: Any) -> torch.Tensor:
        return z @ self.matrix


def interpolated(recipe: Any) -> Any:
    """Return the metric's columns for a recipe of points, with the points as features."""
    metric = importlib.import_module("zoo_smoothness")
    ctx = SimpleNamespace(
        recipe=recipe,
        device="cpu",
        run=SimpleNamespace(request=lambda indices: None),
        inference=torch.no_grad,
        column=lambda base: f"{base}[raw]",
        from_model=lambda x: x,
        features=lambda batches, what: SimpleNamespace(values=torch.cat(list(batches)).double()),
    )
    return metric.latent_smoothness(ctx)["path ratio[raw]"]


@pytest.mark.usefixtures("path")
def test_the_path_of_a_plane_is_the_arc_over_its_chord() -> None:
    """Spherical interpolation of two points of the plane runs on an arc where their norms agree."""
    metric = importlib.import_module("zoo_smoothness")
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    x = torch.stack([metric.slerp(a, b, k / 1000) for k in range(1001)])[:, 0]
    torch.testing.assert_close(x.norm(dim=1), torch.ones(1001))
    assert float(x.diff(dim=0).norm(dim=1).sum()) == pytest.approx(math.pi / 2, rel=1e-4)


@pytest.mark.usefixtures("path")
def test_the_ratio_is_above_one_has_no_scale_and_needs_a_latent() -> None:
    """Catches a ratio upside down, and a division by zero where a generator ignores its latent."""
    plane = interpolated(Latent(torch.eye(2)))
    assert 1 < plane.value < math.pi  # points of unequal norms leave the arc
    assert plane.interval.low <= plane.value <= plane.interval.high
    assert interpolated(Latent(2 * torch.eye(2))).value == pytest.approx(plane.value, rel=1e-6)
    assert "do not depend on the latent" in interpolated(Latent(torch.zeros(2, 2))).reason
    assert "no single latent" in interpolated(object()).reason


@pytest.mark.slow(depends=("zoo_core", "evaluation", "examples"))
def test_the_metric_is_computed_for_a_model_with_a_latent(present: Manager, home: Path) -> None:
    """Registered, selected, computed and ranked as ours are; a model without a latent says why not."""
    words = [
        "preset=tiny",
        "train.steps=2",
        "eval.baselines=false",
        "track.wandb=off",
        "track.plots=false",
    ]
    words += ["track.progress=false", "eval.metrics=[latent-smoothness]", "eval.extractor=raw"]
    made = zoo_core.run(resolve(["plugin=wgan", *words]))
    assert list(made.metrics) == ["path ratio[raw]"]
    assert made.metrics["path ratio[raw]"].value > 1
    assert direction("path ratio[raw]") == "lower"
    assert set(made.scored.cost.metric_seconds) == {"latent-smoothness"}
    other = zoo_core.run(resolve(["plugin=gaussian", *words[2:]]))
    assert other.scored.not_applicable["path ratio[raw]"].reason == "the model has no single latent"
