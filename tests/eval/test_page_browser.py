"""The leaderboard's page in a real browser: it sorts, filters, opens, fits a phone, and asks nobody."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.eval.made_results import result, seeds
from tests.eval.test_page import HOSTILE, attached, crowd, grid_png, groups_of, hostile
from zoo_core.registry.manager import manager
from zoo_eval.leaderboard.page import write_page
from zoo_eval.leaderboard.table import make_table
from zoo_eval.leaderboard.text import column_notation, score_text


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


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of some results; at its end nothing may have been said, or asked of anyone but the file."""
    views = []

    def open_page(*results, width=1280, scheme="light", address="", path=None):
        path = path or write_page(groups_of(tmp_path / "results", *results), tmp_path / "page")
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(60_000)
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
    assert "5.10 ±0.25" in one.page.locator("#rows tr").nth(1).inner_text().replace("\t", "").replace(
        "\n", " "
    )
    assert one.page.locator("#notes li").count() >= 3


def test_the_first_lines_say_who_leads_and_how_sure_that_is(show, tmp_path):
    # catches a baseline, or one member of a tie, that is called the best
    made = [*seeds("wgan", (5.0, 5.1, 5.2)), *seeds("vae", (5.0, 5.1, 5.2)), *seeds("gan", (9.0, 9.1, 9.2))]
    made += [
        *seeds("ddpm", (8.0, 8.1, 8.2)),
        *seeds("edm", (8.4, 8.5, 8.6)),
        *seeds("noise", (1.0, 1.1, 1.2)),
    ]
    for one in made:
        one["family"] = "baseline" if one["plugin"] == "noise" else "gan"
        one["metrics"]["precision[digits]"] = {"value": 0.9 if one["plugin"] in ("noise", "gan") else 0.4}
    one = show(*made)
    line = " ".join(one.page.inner_text(".leaders").split())
    assert line.startswith("Best FD ")
    assert "wgan" in line.split("precision")[0]
    assert "vae" in line.split("precision")[0]
    assert "noise" not in line
    assert "means over training seeds" in one.page.inner_text("#lead")
    one.page.locator(".leaders button", has_text="vae").first.click()
    assert one.page.inner_text("#entry-name") == "vae"


def test_a_board_of_one_seed_says_that_nothing_is_ranked(show):
    # catches a promise of ranks where there are none, and a baseline that is called the best there
    alone = show(result("wgan", 5.0), result("vae", 6.0), result("noise", 1.0, family="baseline"))
    assert "one training seed" in alone.page.inner_text("#lead")
    assert "share a rank" not in alone.page.inner_text("#lead")
    assert "wgan" in alone.page.inner_text(".leaders")
    assert "noise" not in alone.page.inner_text(".leaders")


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
    one.page.get_by_role("button", name="ddpm", exact=True).click()
    one.page.evaluate("document.querySelectorAll('#entry details').forEach((one) => { one.open = true; })")
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
    assert one.page.locator(".curve .line").count() == 1
    one.page.keyboard.press("ArrowRight")
    assert one.page.inner_text("#entry-name") == "wgan"
    one.page.locator(".seed-picker select").select_option("2")
    assert "not recorded" in one.page.inner_text("#entry")
    one.page.keyboard.press("Escape")
    assert one.page.locator("#entry").is_hidden()
    one.page.wait_for_function("document.activeElement.textContent === 'wgan'")


def test_the_metrics_of_an_entry_begin_with_the_one_that_ranks(show):
    # catches checks above scores, and a page of notes between metrics and curves
    made = result(
        "wgan", 5.0, metrics={"precision[digits]": {"value": 0.5}, "FD to test[digits]": {"value": 6.0}}
    )
    for name in list(made["metrics"]):
        made["metrics"][name] = made["metrics"][name] | {"note": f"of {name}"}
    one = show(made, address="#metric=precision%5Bdigits%5D")
    one.page.locator("#rows .open").first.click()
    names = one.page.locator("#entry .metrics tbody th").all_inner_texts()
    names = [name.replace("\u200b", "").split(" \u00d7")[0] for name in names]
    assert names[0] == "precision[digits]"
    assert names.index("FD[digits]") < names.index("FD to test[digits]")
    notes = one.page.locator("#entry details", has_text="of precision[digits]")
    assert notes.locator("summary").inner_text().endswith("notes")
    assert "one training seed" in one.page.inner_text("#entry header")


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
    one.page.get_by_role("button", name="Quality against cost").click()
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
        address="#view=plot",
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
    wide = "document.documentElement.scrollWidth"
    for name in ("Quality against cost", "Gallery", "Table"):
        one.page.get_by_role("button", name=name, exact=True).click()
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


@pytest.mark.slow(depends=("evaluation/zoo_eval/leaderboard",))
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


def sampled(folder, plugin, fd, seed=0, level=0, **changes):
    """Return a result with a grid of flat images of one level."""
    images = np.full((64, 8, 8), level, np.uint8)
    return attached(folder, result(plugin, fd, seed, **changes), samples=grid_png(images))


def test_numbers_are_written_as_in_the_terminal(show, tmp_path):
    # catches two notations of one value, and two kinds of minus in one column
    many = [
        *seeds("a", [5.0, 5.2, 5.1]),
        *seeds("b", [0.981, 0.979, 0.98]),
        *seeds("c", [1.0, 30.0, 12.0]),
        result("d", 3.14159),
        result("e", 2.0, metrics={"KD[digits]": {"value": -0.000941}}),
        result("f", 2.5, metrics={"KD[digits]": {"value": 0.00171}}),
        result("g", 2.7, metrics={"FD[digits]": {"value": 2.7, "interval": {"low": 2.5, "high": 2.9}}}),
    ]
    one = show(*many)
    groups = groups_of(tmp_path / "again", *many)
    for metric in ("FD[digits]", "KD[digits]"):
        table = make_table(groups[0], metric)
        how = column_notation(table.rows, metric)
        for ranked in table.rows:
            shown = one.page.evaluate(
                """([metric, plugin]) => {
                    const now = group(), one = metricOf(now, metric), row = now.plugin.indexOf(plugin);
                    return valueText(one, row) + spreadText(one, row);
                }""",
                [metric, ranked.row.plugin],
            )
            assert shown.replace("\u2212", "-") == score_text(ranked, metric, how)
            assert "-" not in shown


def test_times_are_written_as_a_clock_does(show):
    # catches 105 s and 139 s as "2 min"
    took = (105.0, 139.0, 7.2)
    one = show(*(result(f"m{k}", 1.0 + k, cost={"train_seconds": s}) for k, s in enumerate(took)))
    heads = one.page.locator("#board-table thead th").all_inner_texts()
    (column,) = (k for k, head in enumerate(heads) if head.startswith("train"))
    cells = one.page.locator(f"#rows tr td:nth-child({column + 1})").all_inner_texts()
    assert cells == ["1:45", "2:19", "0:07"]


def test_samples_are_in_every_row_and_in_the_gallery_by_rank(show, tmp_path):
    # catches samples beside another entry's name, and a gallery in another order than the table
    folder = tmp_path / "results"
    one = show(sampled(folder, "dark", 5.0, level=20), sampled(folder, "bright", 1.0, level=250))
    level = """(name) => {
        const all = [...document.querySelectorAll('#rows tr, #gallery article')];
        const box = all.findLast((one) => one.querySelector('.open')?.textContent === name);
        const copy = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        copy.drawImage(box.querySelector('canvas'), 0, 0);
        return copy.getImageData(2, 2, 1, 1).data[0];
    }"""
    one.page.wait_for_function(f"({level})('bright') > 0")
    for _ in range(2):
        assert [one.page.evaluate(level, name) for name in ("bright", "dark")] == [250, 20]
        one.page.get_by_role("button", name="Gallery").click()
    assert one.page.locator("#gallery .open").all_inner_texts() == ["bright", "dark"]
    assert one.page.locator("#gallery canvas").first.get_attribute("aria-label") == "8 samples of bright"


def test_the_first_row_is_visible_and_the_score_stays_in_sight(show, tmp_path):
    # catches a table below the window, a score that scrolls away, and headings that do
    folder = tmp_path / "results"
    one = show(*(sampled(folder, f"m{k}", 1.0 + k) for k in range(60)), width=1000)
    assert one.page.locator("#rows tr").first.bounding_box()["y"] < 400
    one.page.locator("#columns summary").click()
    left = one.page.locator("#columns input:not(:checked)")
    while left.count():
        left.first.check()
    one.page.locator("#columns summary").click()
    one.page.evaluate("const s = document.getElementById('scroll'); s.scrollLeft = 400; s.scrollTop = 900;")
    covered = """(cell) => {
        const box = document.querySelector(cell).getBoundingClientRect();
        const at = document.elementFromPoint(box.left + box.width - 8, box.top + box.height / 2);
        return at?.closest('th, td') === document.querySelector(cell);
    }"""
    assert one.page.evaluate("document.getElementById('scroll').scrollLeft") > 100
    assert one.page.evaluate(covered, "#board-table thead th.main")
    assert one.page.evaluate(covered, "#rows tr:nth-child(24) td.main")
    heads = one.page.locator("#board-table thead th").all_inner_texts()
    assert len(set(heads)) == len(heads)


def test_the_address_holds_the_whole_view_and_a_new_one_is_followed(show, tmp_path):
    # catches a link that loses the sort, the columns or the view, and one pasted into an open page
    one = show(*crowd(tmp_path / "results"))
    one.choose("#metric", "recall[digits]")
    one.page.locator("thead th", has_text="params").get_by_role("button").click()
    one.page.locator("#families button", has_text="gan").click()
    one.choose("#standing", "reported")
    one.page.fill("#search", "wgan")
    one.page.locator("#rows .pick").first.check()
    one.page.locator("#columns summary").click()
    one.page.get_by_label("Seeds").uncheck()
    one.page.get_by_role("button", name="Quality against cost").click()
    one.choose("#cost", "nfe")
    one.page.locator("#log-x").uncheck()
    said = one.page.evaluate("location.hash")
    for part in (
        "metric=recall", "sort=cost+parameters", "family=gan", "state=reported", "search=wgan", "view=plot",
        "compare=wgan", "axis=nfe", "log=-x", "column=-seeds",
    ):  # fmt: skip
        assert part in said
    state = """JSON.stringify([view.metric, view.sort, [...view.families], view.standing, view.search,
        view.show, view.compare, view.cost, view.logX, [...view.columns]])"""
    before = one.page.evaluate(state)
    one.page.evaluate("location.hash = '#data=mnist'")
    one.page.wait_for_function("group().data === 'mnist' && view.search === ''")
    assert one.page.inner_text("#title") == "zoo leaderboard: mnist"
    one.page.evaluate("said => { location.hash = said; }", said)
    one.page.wait_for_function("group().data === 'digits'")
    assert one.page.evaluate(state) == before
    one.page.reload()
    assert one.page.evaluate(state) == before


def test_entries_are_compared_beside_one_another(show, tmp_path):
    # catches a comparison without significance, of all options, or of one entry
    folder = tmp_path / "results"
    options = {"plugin": "x", "train.steps": 5}
    entries = [
        *(
            sampled(folder, plugin, value, seed, config={**options, "model.width": width})
            for plugin, width, values in (
                ("wgan", 8, [5.0, 5.2, 5.1]),
                ("vae", 16, [9.0, 9.4, 9.1]),
                ("gan", 8, [5.1, 5.3, 5.2]),
            )
            for seed, value in enumerate(values)
        ),
        *(result(f"m{k}", 20.0 + k) for k in range(3)),
    ]
    one = show(*entries)
    picks = one.page.locator("#rows .pick")
    picks.nth(0).check()
    assert one.page.locator("#compare-start").is_disabled()
    for k in (1, 2, 3):
        picks.nth(k).check()
    picks.nth(4).click()
    assert not picks.nth(4).is_checked()
    one.page.locator("#chosen .drop").last.click()
    one.page.locator("#compare-start").click()
    text = one.page.inner_text("#compare")
    fd = one.page.locator("#compare tr", has_text="FD[digits]").first.inner_text()
    assert "not significant" in fd
    assert "+3.97" in fd or "+4.07" in fd
    assert " significant" in fd.replace("not significant", "")
    options = one.page.locator("#compare .options tbody tr").all_inner_texts()
    assert [line.split()[0] for line in options] == ["model.width"]
    assert one.page.locator("#compare img.samples").count() == 3
    assert "compare=" in one.page.evaluate("location.hash")
    assert "Compare 3 entries" in text
    one.page.reload()
    assert one.page.locator("#compare").is_visible()
    one.page.keyboard.press("Escape")
    assert one.page.locator("#compare").is_hidden()


def test_words_have_definitions_for_pointer_and_keyboard(show, tmp_path):
    # catches a metric that nothing explains, and Escape that closes more than the definition
    one = show(*crowd(tmp_path / "results"))
    tip = one.page.locator("#tip")
    heading = one.page.locator("thead th.main button")
    heading.hover()
    assert "Fréchet distance" in tip.inner_text()
    one.page.mouse.move(5, 5)
    tip.wait_for(state="hidden")
    heading.focus()
    assert "Fréchet distance" in tip.inner_text()
    assert heading.get_attribute("aria-describedby") == "tip"
    one.page.keyboard.press("Escape")
    assert tip.is_hidden()
    one.page.locator("#rows .open").first.click()
    one.page.locator("#entry .term[data-term='recall[digits]']").focus()
    assert "covered" in tip.inner_text()
    one.page.keyboard.press("Escape")
    assert one.page.locator("#entry").is_visible()
    one.page.keyboard.press("Escape")
    one.page.locator("#glossary summary").click()
    assert "network evaluations per sample" in one.page.inner_text("#glossary")
    assert one.page.locator("#metric optgroup").first.get_attribute("label") == "Distance to the data"


def test_what_is_shown_can_be_saved(show, tmp_path):
    # catches a button that the policy blocks, and rows that the filter hides
    folder = tmp_path / "results"
    one = show(sampled(folder, "wgan", 5.0), sampled(folder, "vae", 7.0, family="vae"))
    one.page.fill("#search", "wgan")

    def saved(name):
        one.page.locator("#export").evaluate("(one) => { one.open = true; }")
        with one.page.expect_download() as download:
            one.page.get_by_role("button", name=name).click()
        return download.value.path().read_bytes()

    (row,) = csv.DictReader(io.StringIO(saved("CSV").decode()))
    assert (row["plugin"], float(row["FD[digits]"])) == ("wgan", 5.0)
    (plain,) = json.loads(saved("JSON"))
    assert plain["metrics"]["FD[digits]"]["mean"] == 5.0
    assert r"\begin{tabular}" in saved("LaTeX").decode()
    one.page.get_by_role("button", name="Quality against cost").click()
    assert saved("PNG of the plot").startswith(b"\x89PNG")
    one.page.get_by_role("button", name="Gallery", exact=True).click()
    assert saved("PNG of the gallery").startswith(b"\x89PNG")


def test_axes_hold_every_interval_and_name_every_tick_once(show):
    # catches error bars cut in silence, "2 min" twice on an axis, and a log axis that one copy forbids
    one = show(result())
    made = one.page.evaluate(
        """() => {
            const axis = (values, more) => {
                const made = makeAxis({ values, kind: axisKind(values), from: 400, to: 20,
                    format: (v) => tickText(v), apart: 44, ...more });
                const ends = (more?.ends ?? []).map(made.scale);
                return { ...made, at: values.map(made.scale), ends, scale: null };
            };
            return {
                wide: axis([1, 2, 3], { ends: [-4, 9] }),
                log: axis([0.5, 3, 900]),
                zero: axis([0, 0.5, 3, 900]),
                negative: axis([-0.02, -0.01, 0.001, 0.03, 5]),
                clock: axis([96, 118, 131], { unit: "clock", format: clock }),
                kinds: [[1, 2], [1, 500], [0, 1, 500], [-1, -2, 500, 1]].map((values) => axisKind(values)),
            };
        }"""
    )
    assert made["kinds"] == ["linear", "log", "log", "symlog"]
    assert all(20 <= at <= 400 for at in made["wide"]["ends"])
    assert made["zero"]["at"][0] > max(made["zero"]["at"][1:]) + 10
    assert made["zero"]["ticks"][0]["text"] == "0"
    assert made["negative"]["at"] == sorted(made["negative"]["at"], reverse=True)
    for name in ("wide", "log", "zero", "negative", "clock"):
        texts = [tick["text"] for tick in made[name]["ticks"]]
        assert len(texts) == len(set(texts)) >= 2, (name, texts)


def test_every_axis_has_two_ticks_or_more(show):
    # catches a scale that one number alone is to explain
    one = show(result("wgan", 1.0))
    for low, high, wanted in ((265, 853, 2.5), (0.9, 2.1, 2), (3, 4.4, 2), (0, 7, 2), (-3, 9, 2)):
        ticks = one.page.evaluate(
            "([low, high, wanted]) => linearTicks(low, high, wanted)", [low, high, wanted]
        )
        assert len(ticks) >= 2
        assert all(low <= tick <= high for tick in ticks)


def test_a_copy_that_is_not_ranked_leaves_the_axis_to_the_others(show):
    # catches 29 models on one line because a copy's score is negative
    made = [result(f"m{k}", 1.0, metrics={"FD-inf[digits]": {"value": 0.01 * 10**k}}) for k in range(4)]
    copied = {"FD-inf[digits]": {"value": -0.04}, "memorization[pixels]": {"value": 0.9}}
    one = show(*made, result("copycat", 0.3, metrics=copied), address="#view=plot&metric=FD-inf%5Bdigits%5D")
    assert one.page.locator("#log-y").is_checked()
    assert one.page.locator(".lane").count() == 1
    ticks = one.page.locator("#drawing .tick-text.end").all_text_contents()
    assert "≤\u202f0" in ticks
    assert {"0.1", "1", "10"} <= set(ticks)


def test_names_in_the_plot_hide_nothing(show):
    # catches a name drawn over another entry's mark
    near = [result(f"model-{k}", 1.0 + 0.02 * k, cost={"train_seconds": 10.0 + k % 3}) for k in range(12)]
    one = show(*near, address="#view=plot")
    boxes = one.page.evaluate(
        """[...document.querySelectorAll('#drawing .name')].map((text) => {
            const { x, y, width, height } = text.getBBox();
            return [x, y, width, height];
        })"""
    )
    marks = [
        (float(x), float(y))
        for path in one.page.locator("#drawing .dots").all()
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path.get_attribute("d"))
    ]
    assert boxes
    for k, (x, y, w, h) in enumerate(boxes):
        for px, py in marks:
            assert not (x < px - 6 < x + w and y < py < y + h)
        for left, top, width, height in boxes[:k]:
            assert x + w <= left or left + width <= x or y + h - 3 <= top or top + height - 3 <= y


def test_a_family_looks_the_same_on_every_board(show, tmp_path):
    # catches gan orange here and blue there, and two families that a color-blind reader can't tell apart
    one = show(*crowd(tmp_path / "results"), result("else", 1.0, family="vae", protocol={"data": "mnist"}))
    styles = one.page.evaluate("Object.entries(STYLES).map(([family, style]) => [family, ...style])")
    assert len({color for _, color, _ in styles}) == len(styles)
    assert len({shape for _, _, shape in styles}) == len(styles)
    assert {family for family, _, _ in styles} >= {entry.spec.family for entry in manager().entries("plugin")}
    first = one.page.evaluate("familyStyle('something-new')")
    one.choose("#data", "mnist")
    assert one.page.evaluate("familyStyle('something-new')") == first


def test_a_row_that_is_given_something_says_so(show, tmp_path):
    # catches samples of given labels taken for unconditional ones
    one = show(*crowd(tmp_path / "results"))
    assert one.page.locator(".given").count() == 0
    one.choose("#task", "class")
    assert one.page.locator("#rows .given").all_inner_texts() == ["given: class label"]
    assert "class label" in one.page.inner_text("#lead")
    assert one.page.inner_text("#title") == "zoo leaderboard: digits"


@pytest.mark.slow(depends=("evaluation/zoo_eval/leaderboard",))
def test_print_shows_the_entry_that_is_open(show, tmp_path):
    # catches a printed entry behind its backdrop, and controls on paper
    one = show(*crowd(tmp_path / "results"))
    one.page.emulate_media(media="print")
    assert one.page.locator("#rows .open").first.is_visible()
    assert one.page.locator("#search").is_hidden()
    one.page.emulate_media(media="screen")
    one.page.locator("#rows .open").first.click()
    one.page.emulate_media(media="print")
    assert one.page.locator("#board-table").is_hidden()
    assert one.page.locator("#entry-name").is_visible()
