"""The interactive page in Chromium, opened from disk with the network off.

Screenshots are written to the folder that ZOO_SCREENS names, by default to the test's own. With ZOO_PAGE, the
page is that file, for example one of `zoo course browser`; by default its networks are trained a little.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.eval.test_page_screens import axe_source
from zoo_core.seeds import Seeds
from zoo_course.browser.chains import sample
from zoo_course.browser.page import read_models, write_page
from zoo_course.browser.training import train

pytestmark = pytest.mark.slow(
    depends=(
        "plugins/zoo_course",
        "zoo_core/seeds.py",
        "zoo_core/diffusion/samplers.py",
        "zoo_core/diffusion/grids.py",
        "zoo_core/diffusion/guidance.py",
        "evaluation/zoo_eval/leaderboard/page",
    )
)
PLAYERS = ("plane", "digits")
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("ZOO_PAGE"):
        return Path(os.environ["ZOO_PAGE"]).resolve()
    with torch.random.fork_rng():
        return write_page(tmp_path_factory.mktemp("browser") / "page.html", train(fraction=0.03))


@pytest.fixture
def show(browser: Any, path: Path) -> Iterator[Any]:
    """Open the page offline; at the end nothing may have been logged, or requested beside the file."""
    contexts: list[Any] = []
    asked: list[str] = []
    logged: list[str] = []

    def opened(width: int = 1280, scheme: str = "light", motion: str = "reduce", csp: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            reduced_motion=motion,
            offline=True,
            bypass_csp=not csp,
        )
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda one: logged.append(str(one)))
        page.on("console", lambda one: logged.append(one.text))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert set(asked) <= {path.as_uri(), "data:,"}
    assert logged == []


def finished(page: Any, name: str) -> str:
    """Scroll to a player, wait until its chain has ended, and return the text beside its slider."""
    page.locator(f"#{name}-player").scroll_into_view_if_needed()
    page.locator(f"#{name}-player[aria-busy=false]").wait_for()
    return str(page.locator(f"#{name}-player output").inner_text())


def fingerprint(page: Any, canvas: str) -> str:
    """Return the content of a canvas."""
    return str(page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))


def set_slider(page: Any, form: str, name: str, value: float) -> None:
    page.evaluate(
        "([form, name, value]) => { const one = document.getElementById(form).elements[name];"
        " one.value = value; one.dispatchEvent(new Event('input', { bubbles: true })); }",
        [f"{form}-form", name, value],
    )


def test_chains_in_the_browser_are_those_of_torch(show: Any, path: Path) -> None:
    """With the networks that the page holds, read back from it; whole chains with the same noise."""
    page = show()
    models = read_models(path)
    run = "([net, asked]) => Array.from([...chain(readDenoiser(net), asked)].at(-1).x)"
    for sampler, eta in (("ddim", 0.0), ("ddim", 0.6), ("ancestral", 0.0), ("euler", 0.0), ("heun", 0.0)):
        given = {"indices": [0, 3, 12], "seed": 5, "sampler": sampler, "steps": 15, "eta": eta}
        plane = page.evaluate("MODELS.planes['moons'].denoiser")
        expected = sample(
            models.planes["moons"].denoise, (0, 3, 12), seed=5, sampler=sampler, steps=15, eta=eta
        )
        found = page.evaluate(run, [plane, given])
        assert torch.allclose(torch.tensor(found), expected.flatten(), rtol=0, atol=1e-3), sampler
        label = torch.tensor([1, 4, 10])
        expected = sample(
            models.digits.denoise, (0, 3, 12), seed=5, sampler=sampler, steps=15, eta=eta, label=label,
            guidance_scale=2.5,
        )  # fmt: skip
        digits = page.evaluate("MODELS.digits.denoiser")
        found = page.evaluate(run, [digits, {**given, "labels": label.tolist(), "scale": 2.5}])
        assert torch.allclose(torch.tensor(found), expected.flatten(), rtol=0, atol=1e-3), sampler


def test_every_control_changes_what_is_shown(show: Any) -> None:
    """Catches a slider that is not connected."""
    page = show()
    assert "40 of 40" in finished(page, "plane")
    for name, value in (("seed", 3), ("eta", 0.5), ("steps", 12)):
        before = fingerprint(page, "plane-sde")
        set_slider(page, "plane", name, value)
        finished(page, "plane")
        assert fingerprint(page, "plane-sde") != before, name
    for name, value in (("solver", "heun"), ("data", "ring")):
        before = fingerprint(page, "plane-ode")
        page.select_option(f"#plane-form [name={name}]", value)
        finished(page, "plane")
        assert fingerprint(page, "plane-ode") != before, name
    before = fingerprint(page, "plane-ode")
    page.check("#plane-form [name=field]")
    assert fingerprint(page, "plane-ode") != before
    assert "25 of 25" in finished(page, "digits")
    for name, value in (("scale", 3), ("steps", 9), ("eta", 1), ("seed", 2)):
        before = fingerprint(page, "digits-images")
        set_slider(page, "digits", name, value)
        assert "9 of 9" in finished(page, "digits") or name == "scale"
        assert fingerprint(page, "digits-images") != before, name
    assert "18 evaluations" in finished(page, "digits")
    for name, values in (("sampler", ("heun", "ancestral", "euler")), ("label", ("7", "none"))):
        for value in values:
            before = fingerprint(page, "digits-images")
            page.select_option(f"#digits-form [name={name}]", value)
            finished(page, "digits")
            assert fingerprint(page, "digits-images") != before, (name, value)
    assert page.locator("#digits-form [name=eta]").is_disabled()
    code = page.locator("#code").inner_text()
    assert 'models.planes["ring"]' in code
    assert 'sampler="euler", steps=9' in code


def test_the_code_that_the_page_shows_runs(show: Any, path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """And gives the samples that the page shows."""
    page = show()
    finished(page, "digits")
    shutil.copyfile(path, tmp_path / "page.html")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(page.locator("#code").inner_text(), "page", "exec"), found)
    assert found["ode"].shape == found["sde"].shape == (240, 2)
    assert found["image"].shape == (1, 1, 8, 8)
    shown = page.evaluate(
        "Array.from([...chain(readDenoiser(MODELS.digits.denoiser), { indices: range(40), steps: 25,"
        " labels: range(40).map((k) => k % 10), scale: 1 })].at(-1).x)"
    )
    assert torch.allclose(torch.tensor(shown), found["digits"].flatten(), rtol=0, atol=1e-3)


def test_a_latent_is_chosen_by_pointer_button_and_keyboard(show: Any) -> None:
    page = show()
    plane = page.locator("#latents-plane")
    plane.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = plane.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    values = [float(page.locator(f"#latents-form [name={name}]").input_value()) for name in ("z1", "z2")]
    assert values == pytest.approx([2, 2], abs=0.06)
    before = fingerprint(page, "latents-image")
    page.locator("#latents-form [name=z1]").focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert float(page.locator("#latents-form [name=z1]").input_value()) == pytest.approx(values[0] - 1)
    assert fingerprint(page, "latents-image") != before
    for k in range(2):
        page.get_by_role("button", name="Sample the prior").click()
        z = Seeds(0, [k]).randn((2,))[0]
        text = page.locator("#latents-note").inner_text()
        assert f"sample {k} of seed 0: z = ({float(z[0]):.3f}, {float(z[1]):.3f})" in text


def test_a_chain_is_played_paused_and_gone_through(show: Any) -> None:
    page = show(motion="no-preference")
    assert "40 of 40" in finished(page, "plane")
    before = fingerprint(page, "plane-ode")
    slider = page.get_by_role("slider", name="Step of the points")
    slider.focus()
    page.keyboard.press("Home")
    assert "step 0 of 40, σ 10" in page.locator("#plane-player output").inner_text()
    assert fingerprint(page, "plane-ode") != before
    assert fingerprint(page, "plane-ode") == fingerprint(page, "plane-sde")  # the same start
    page.locator("#plane-player button").click()
    assert "40 of 40" in finished(page, "plane")
    assert fingerprint(page, "plane-ode") == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_screens_are_written_to_look_at(show: Any, tmp_path: Path, width: int, scheme: str) -> None:
    """Catches a page wider than its window, and a control without a name."""
    folder = Path(os.environ.get("ZOO_SCREENS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page = show(width, scheme)
    for name in PLAYERS:
        finished(page, name)
    page.locator("#latents-image").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=folder / f"browser-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select')]"
        ".filter((one) => !one.labels[0]?.textContent.trim()).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(show: Any, scheme: str) -> None:
    source = axe_source()
    if source is None:
        pytest.skip("needs axe-core: pip install axe-playwright-python")
    page = show(scheme=scheme, csp=False)
    for name in PLAYERS:
        finished(page, name)
    page.add_script_tag(content=source.read_text())
    found = page.evaluate(
        """axe.run().then(({ violations }) => violations.map((one) =>
            [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]))"""
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []
