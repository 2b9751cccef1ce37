"""The leaderboard's page in a real browser: it sorts, filters, opens, fits a phone, and asks nobody."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field

import pytest

from tests.eval.made_results import result
from tests.eval.test_page import HOSTILE, crowd, groups_of, hostile
from zoo_eval.leaderboard.page import write_page


@dataclass
class Opened:
    """A page in a browser, with everything it said and asked for."""

    page: object
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def names(self):
        return self.page.locator("#rows .open").all_inner_texts()

    def ranks(self):
        return self.page.locator("#rows td.rank").all_inner_texts()

    def choose(self, where, value):
        self.page.select_option(where, value)


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs a Chromium on PATH, such as Debian's package `chromium`")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of some results; at its end nothing may have been said, or asked of anyone but the file."""
    views = []

    def open_page(*results, width=1280, scheme="light", address="", path=None):
        path = path or write_page(groups_of(tmp_path / "results", *results), tmp_path / "page")
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(15_000)
        one = Opened(context.new_page())
        one.page.on("console", lambda message: one.said.append(message.text))
        one.page.on("pageerror", lambda error: one.said.append(str(error)))
        one.page.on("request", lambda request: one.asked.append(request.url))
        one.page.goto(path.as_uri() + address)
        views.append((context, one, path))
        return one

    yield open_page
    for context, one, path in views:
        outside = [url for url in one.asked if not url.startswith((path.as_uri(), "data:"))]
        context.close()
        assert one.said == []
        assert outside == []


def test_it_shows_ranks_ties_and_states(show, tmp_path):
    # catches a page that ranks by something else than the leaderboard
    one = show(*crowd(tmp_path / "results"))
    assert one.names() == ["ddpm", "wgan", "vae", "copycat"]
    assert one.ranks() == ["?", "=1", "=1", "–"]
    assert one.page.locator("#rows .state").all_inner_texts() == ["reported"] * 4
    assert "5.10 ±0.248" in one.page.locator("#rows tr").nth(1).inner_text().replace("\t", "").replace(
        "\n", " "
    )
    assert one.page.locator("#notes li").count() >= 3


def test_choosing_data_and_metric(show, tmp_path):
    # catches figures of one protocol under another's heading
    one = show(*crowd(tmp_path / "results"))
    one.choose("#metric", "bits_per_dim[vlb-1000]")
    assert one.ranks() == ["?", "–", "–", "–"]
    assert "≤2.90" in one.page.locator("#rows td.main").first.inner_text()
    one.choose("#task", "class")
    assert one.names() == ["task"]
    one.choose("#data", "mnist")
    assert one.names() == ["other"]
    assert "mnist" in one.page.evaluate("location.hash")


def test_sorting_by_a_column_and_back(show, tmp_path):
    # catches text order for numbers, n/a first, a heading that says another order than it shows
    one = show(*crowd(tmp_path / "results"), result("tiny", 9.0, cost={"parameters": 900, "nfe": 1000.0}))
    heading = one.page.locator("thead th", has_text="params")
    heading.get_by_role("button").click()
    assert one.names()[0] == "tiny"
    assert heading.get_attribute("aria-sort") == "ascending"
    train = one.page.locator("thead th", has_text="train")
    train.get_by_role("button").click()
    assert one.names()[-1] == "tiny"  # has no training time: last
    train.get_by_role("button").click()
    assert train.get_attribute("aria-sort") == "descending"
    assert one.names()[-1] == "tiny"
    one.page.get_by_role("button", name="rank", exact=True).click()
    assert one.ranks()[0] == "?"


def test_search_families_and_state_narrow_the_table(show, tmp_path):
    # catches a filter that forgets another
    one = show(*crowd(tmp_path / "results"))
    one.page.fill("#search", "VA vae")
    assert one.names() == ["vae"]
    assert one.page.inner_text("#count") == "1 of 4 entries"
    one.page.fill("#search", "")
    one.page.locator("#families button", has_text="diffusion").click()
    assert one.names() == ["ddpm"]
    one.choose("#standing", "reproduced")
    assert one.names() == []
    assert "No entry fits" in one.page.inner_text("#rows")


def test_an_entry_opens_with_all_there_is(show, tmp_path):
    # catches a part of an entry that is not shown, and a image that the policy blocks
    one = show(*crowd(tmp_path / "results"))
    one.page.get_by_role("button", name="ddpm").click()
    text = one.page.inner_text("#entry")
    for part in (
        "not ranked: not tested",
        "2500",
        "ancestral",
        "abc123",
        "zoo run plugin=ddpm 'note=a b'",
        "loss",
        "≤2.90",
    ):
        assert part in text
    assert one.page.evaluate("document.querySelector('.samples').naturalWidth") == 40
    assert one.page.locator(".curve path").count() == 1
    one.page.keyboard.press("ArrowRight")
    assert one.page.inner_text("#entry-name") == "wgan"
    one.page.locator(".seed-picker select").select_option("2")
    assert "not recorded" in one.page.inner_text("#entry")
    one.page.keyboard.press("Escape")
    assert one.page.locator("#entry").is_hidden()
    one.page.wait_for_function("document.activeElement.textContent === 'wgan'")


def test_the_keyboard_alone_is_enough(show, tmp_path):
    # catches a row, a point or a heading that only a mouse reaches
    one = show(*crowd(tmp_path / "results"))
    press = one.page.keyboard.press
    one.page.locator("#rows .open").first.focus()
    press("ArrowDown")
    press("Enter")
    assert one.page.inner_text("#entry-name") == "wgan"
    press("Escape")
    press("End")
    assert one.page.evaluate("document.activeElement.textContent") == "copycat"
    one.page.locator(".stage").focus()
    press("ArrowRight")
    assert one.page.locator(".tip").is_visible()
    press("Enter")
    assert one.page.locator("#entry").is_visible()


def test_the_front_holds_what_nothing_ranked_beats(show):
    # catches a front through what memorizes, or through what is beaten in both
    def at(name, fd, seconds, **more):
        return result(name, fd, cost={"train_seconds": seconds}, **more)

    one = show(
        at("cheap", 9.0, 1.0),
        at("good", 1.0, 100.0),
        at("beaten", 10.0, 50.0),
        at("c", 0.3, 0.5, metrics={"memorization[pixels]": {"value": 0.9}}),
    )
    d = one.page.locator(".front").get_attribute("d")
    assert d.count("V") == 1
    assert one.page.locator(".dots.hollow").count() == 1
    box = one.page.locator(".stage").bounding_box()
    x, y = map(float, re.match(r"M([\d.]+) ([\d.]+)", d).groups())
    one.page.mouse.click(box["x"] + x, box["y"] + y)
    assert one.page.inner_text("#entry-name") == "cheap"


def test_texts_of_third_parties_are_text(show, tmp_path):
    # catches a submitted text that runs, reorders what is beside it, or breaks the page's layout
    many = [hostile(tmp_path / "results", payload, k) for k, payload in enumerate(HOSTILE)]
    one = show(*many, width=360)
    for k, payload in enumerate(HOSTILE):
        one.page.locator("#rows .open").nth(k).click()
        text = one.page.inner_text("#entry")
        assert payload[:12].replace("\u202e", "?") in text
        assert "\u202e" not in text
        one.page.keyboard.press("Escape")
    assert one.page.evaluate("window.owned") is None
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_one_way_only(show, scheme, tmp_path):
    # catches a table, a plot or an entry wider than the screen
    one = show(*crowd(tmp_path / "results"), width=360, scheme=scheme)
    one.page.locator("#plot summary").click()
    one.page.wait_for_selector(".stage")
    wide = "document.documentElement.scrollWidth"
    assert one.page.evaluate(wide) <= 360
    one.page.locator("#rows .open").first.click()
    assert one.page.evaluate("document.querySelector('#entry').scrollWidth") <= 360
    assert one.page.evaluate(wide) <= 360


def contrast(page, selector):
    return page.evaluate(
        """selector => {
            const part = (text) => {
                const canvas = document.createElement('canvas').getContext('2d');
                canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
                    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            };
            const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
            const style = (where) => getComputedStyle(document.querySelector(where));
            const both = [style(selector).color, style('.card').backgroundColor];
            let [a, b] = both.map((text) => light(part(text)));
            if (a < b) [a, b] = [b, a];
            return (a + 0.05) / (b + 0.05);
        }""",
        selector,
    )


def test_both_themes_can_be_read_and_switched(show, tmp_path):
    # catches gray on gray (WCAG AA: 4.5), and a switch that does nothing
    one = show(*crowd(tmp_path / "results"), scheme="dark")
    for theme in ("auto", "light", "dark"):
        assert one.page.inner_text("#theme") == f"Theme: {theme}"
        for selector in ("#rows .open", "#rows .family", "#notes li", "#rows .state"):
            assert contrast(one.page, selector) >= 4.5, (theme, selector)
        one.page.click("#theme")


def test_a_view_can_be_linked(show, tmp_path):
    # catches an address that says less than the page shows, and one that names what is not there
    entry = f"wgan/{result('wgan')['config_hash']}"
    address = f"#data=digits&metric=recall%5Bdigits%5D&entry={entry}&protocol=none"
    one = show(*crowd(tmp_path / "results"), address=address)
    assert one.page.inner_text("#entry-name") == "wgan"
    one = show(*crowd(tmp_path / "results"), address="#data=nothing&metric=__proto__&entry=%3Cscript%3E")
    assert one.names()[0] == "ddpm"


def test_thousands_of_rows_come_in_pages(show):
    # catches 10,000 rows drawn at once, and a search that sees one page only
    one = show(*(result(f"m{k}", 1 + k) for k in range(1200)))
    assert one.page.locator("#rows tr").count() == 100
    one.page.get_by_role("button", name="Next", exact=True).click()
    assert one.names()[0] == "m100"
    one.page.get_by_role("button", name="Last").click()
    assert one.names()[-1] == "m1199"
    one.page.fill("#search", "m1100")
    assert one.names() == ["m1100"]


def test_no_results_is_a_page_too(show):
    # catches an exception on an empty board
    assert "No results yet" in show().page.inner_text("main")
