"""The leaderboard's page as a person sees it: screenshots to look at, and the rules of axe.

The screenshots are written to the folder that ZOO_SCREENS names, by default to the test's own. axe-core is
the file that axe-playwright-python brings.
"""

from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path

import numpy as np
import pytest

from tests.eval.made_results import result
from tests.eval.test_page import attached, grid_png, groups_of
from zoo_eval.leaderboard.page import write_page

PAGE = ("evaluation/zoo_eval/leaderboard", "zoo_core/viz")
MODELS = {
    "gan": ("gan", "wgan", "wgan-gp", "dcgan", "sngan", "stylegan"),
    "vae": ("vae", "beta-vae", "vq-vae", "iwae", "hvae"),
    "diffusion": ("ddpm", "iddpm", "edm", "vp-sde", "ve-sde", "ncsn", "ldm"),
    "baseline": ("noise", "gaussian", "histogram", "copycat"),
}
VIEWS = {
    "table": "",
    "gallery": "#view=gallery",
    "plot": "#view=plot",
    "entry": "#entry={ddpm}",
    "compare": "#compare={ddpm}&compare={wgan}&compare={vae}&open=compare",
    "class": "#task=class",
}
SIZES = {"1280": (1280, 900), "1920": (1920, 1080), "360": (360, 800)}
BLIND = ("deuteranopia", "achromatopsia")


def many(folder):
    """Return results of three seeds of models of every family, with samples, and of one given labels."""
    rng, levels = random.Random(0), np.random.default_rng(0)
    made = []
    for family, names in MODELS.items():
        for name in names:
            fd = 10 ** rng.uniform(-0.5, 1.3)
            images = levels.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
            for seed in range(3):
                cost = {"train_seconds": rng.uniform(5, 400), "nfe": 1.0, "parameters": rng.randrange(10**6)}
                metrics = {
                    "precision[digits]": {"value": rng.uniform(0.3, 0.9)},
                    "KD[digits]": {"value": rng.uniform(-1e-3, 2e-2)},
                }
                if name == "copycat":
                    metrics["memorization[pixels]"] = {"value": 0.9}
                value = fd if family == "baseline" else fd * rng.uniform(0.85, 1.15)
                one = result(name, value, seed, family=family, metrics=metrics, cost=cost)
                made.append(attached(folder, one, samples=grid_png(images, 1)))
    made += [result("cgan", 2.0 + seed / 10, seed, task="class") for seed in range(3)]
    return made


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screens")
    return write_page(groups_of(folder / "results", *many(folder / "results")), folder / "page").as_uri()


def fragment(view):
    return VIEWS[view].format(
        **{name: f"{name}/{result(name)['config_hash']}" for name in ("ddpm", "wgan", "vae")}
    )


@pytest.mark.slow(depends=PAGE)
@pytest.mark.parametrize("view", VIEWS)
def test_screens_are_written_to_look_at(browser, address, view, tmp_path):
    # catches an exception, a page wider than its window, and a view that stays empty in some size or theme
    folder = Path(os.environ.get("ZOO_SCREENS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            said: list[str] = []
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.goto(address + fragment(view))
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"{view}-{size}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert said == []
            page.close()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address + fragment(view))
    page.pdf(path=folder / f"{view}-print.pdf")
    protocol = page.context.new_cdp_session(page)
    for kind in BLIND:
        protocol.send("Emulation.setEmulatedVisionDeficiency", {"type": kind})
        page.screenshot(path=folder / f"{view}-{kind}.png")
    page.close()
    assert len(list(folder.glob(f"{view}-*"))) == len(SIZES) * 2 + 1 + len(BLIND)


def axe_source():
    """Return the file of axe-core, or None where it is not installed."""
    package = importlib.util.find_spec("axe_playwright_python")
    return Path(package.origin).with_name("axe.min.js") if package else None


@pytest.mark.slow(depends=PAGE)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(browser, address, view, scheme):
    # catches contrast, names and roles that a screen reader or a weak eye misses
    source = axe_source()
    if source is None:
        pytest.skip("needs axe-core: pip install axe-playwright-python")
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(address + fragment(view))
    page.wait_for_timeout(500)
    page.add_script_tag(content=source.read_text())
    found = page.evaluate(
        """axe.run().then(({ violations }) => violations.map((one) =>
            [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]))"""
    )
    context.close()
    assert [one for one in found if one[0] in ("serious", "critical")] == []
