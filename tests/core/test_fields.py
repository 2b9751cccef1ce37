"""Images of the plane: which a run has, and what the landscape behind them is."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from tests.diffusion.analytic import Exact
from zoo_core.config import DataConfig, EvalConfig, RunConfig
from zoo_core.data.toy import load
from zoo_core.types import DataInfo
from zoo_core.viz import fields


def exact_run(density, data):
    """A run whose denoiser is exact, in float32 as a trained one's."""

    def x0_of(x, sigma):
        level = float(sigma.flatten()[0])
        return x + level**2 * data.density.smoothed(level).score(x)

    return SimpleNamespace(
        data=SimpleNamespace(info=data.info, train=data.train, density=density),
        recipe=SimpleNamespace(denoiser=lambda: Exact(x0_of)),
        config=RunConfig(plugin="exact", data=DataConfig(name=data.info.name), eval=EvalConfig()),
        inference=torch.no_grad,
        device=torch.device("cpu"),
        step=0,
    )


def test_walks_heed_the_weights_only_when_annealed(monkeypatch):
    """Catches panels that are changed about, starts that differ, and a walk without its end."""
    data, drawn = load(DataConfig(name="two-gaussians")), {}

    def keep(panels, surface, real, title, subtitle):
        drawn.update(panels)
        assert torch.equal(surface(real.double()), data.density.log_prob(real.double()))

    monkeypatch.setattr(fields, "walks", keep)
    monkeypatch.setattr(fields, "CHAINS", 400)
    fields.jobs(exact_run(data.density, data))["langevin"]()
    still, annealed = drawn.values()
    assert [name.split()[0].strip(",") for name in drawn] == ["one", "annealed"]
    assert torch.equal(still[0], annealed[0])
    on_the_left = [float((states[-1].sum(1) < 0).float().mean()) for states in (still, annealed)]
    started = float((still[0].sum(1) < 0).float().mean())
    assert abs(on_the_left[0] - started) < 0.1  # where a half started, a half stays
    assert abs(on_the_left[1] - 0.2) < 4.5 * (0.2 * 0.8 / 400) ** 0.5 + 0.03


def test_images_are_drawn_with_and_without_a_known_density(tmp_path):
    """Catches a image that needs contours where none are known, and a blank one."""
    from PIL import Image

    data = load(DataConfig(name="two-gaussians"))
    only = SimpleNamespace(log_prob=data.density.log_prob, score=data.density.score)
    for place, density in enumerate((data.density, only, None)):
        for name, job in fields.jobs(exact_run(density, data)).items():
            path = tmp_path / f"{name}-{place}.png"
            job().save(path)
            image = Image.open(path)
            assert image.width > 800
            assert len(image.convert("RGB").resize((200, 100)).getcolors(20_000)) > 100
    assert fields.surface(only, 0.3) is None
    assert fields.surface(only, 0.0) is only.log_prob


def test_images_have_no_fields():
    """Catches a plane that is looked for in images, in a latent, or in a model without a denoiser."""
    data = load(DataConfig(name="two-gaussians"))
    made = exact_run(data.density, data)
    assert set(fields.jobs(made)) == {"score-field", "langevin"}
    made.data.info = DataInfo("digits", (1, 8, 8), levels=17)
    assert fields.jobs(made) == {}
    made.data.info = data.info
    made.recipe = SimpleNamespace(denoiser=lambda: SimpleNamespace(space="latent"))
    assert fields.jobs(made) == {}
    made.recipe = object()
    assert fields.jobs(made) == {}
