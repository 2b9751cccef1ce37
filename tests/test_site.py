"""The documentation site as a browser gets it: it builds without a network, and its links, tables, titles and
references to code are right in the HTML."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import shutil
import socket
import struct
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CHECKOUT
from tests.eval import made_results
from tests.eval.test_page_screens import axe_source
from tests.test_docs import GENERATED, PAGES, file_of
from zoo_core.config import RunConfig, options, type_name
from zoo_core.registry.manager import load_entry, manager

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    """Scripts of ci/ can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CHECKOUT / "ci"))
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly in a process that can reach nothing."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    workspace = tmp_path_factory.mktemp("site")

    def refuse(*_: Any) -> None:
        raise OSError("the build asked for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(CHECKOUT / "mkdocs.yml"), site_dir=str(workspace), strict=True)
        build(config)
    return workspace


class Reader(HTMLParser):
    """What a test asks of a page.

    Attributes:
        ids, links, metas: anchors; targets of `href` and `src`; `name` or `property` -> content.
        title: of the browser's tab.
        rows: the text of the cells of each row of a table.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.title = ""
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given and tag != "meta"}
        self.links += [given[name] for name in ("href", "src") if name in given]
        if tag == "meta":
            self.metas[given.get("name") or given.get("property") or ""] = given.get("content", "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("title", "td", "th", "svg"):
            self.open.append(tag)
        if tag == "br" and self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] == [tag]:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open == ["title"]:
            self.title += data
        elif self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


@cache
def read(path: Path) -> Reader:
    """Return a page, parsed once."""
    return Reader(path.read_text())


def built(site: Path, page: str) -> Path:
    """Return the HTML of a page of docs/."""
    stem = page.removesuffix(".md").removesuffix("index").strip("/")
    return site / stem / "index.html"


@pytest.mark.slow(
    depends=("ci/pages", "ci/theme", "ci/repository.py", "ci/mathematics.py", "docs", "mkdocs.yml")
)
def test_the_site_builds_strictly_and_its_pages_fetch_nothing(site: Path) -> None:
    fetched = re.compile(
        r"""<(?:script|img|iframe|source|link)\b[^>]*?(?:src|srcset|href)\s*=\s*["'](?:https?:)?//|"""
        r"""url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//"""
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > len(PAGES)
    for path in pages:
        assert not fetched.search(path.read_text()), path


def test_every_link_within_the_site_leads_to_a_file_and_an_anchor(site: Path) -> None:
    """Catches a page, a line of a source file or a heading that is gone, also where mkdocs does not check."""
    for path in site.rglob("*.html"):
        for link in read(path).links if path.name != "404.html" else []:
            if re.match(r"[a-z]+:|//", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            found = (path.parent / target).resolve() if target else path
            found = found / "index.html" if found.is_dir() else found
            assert found.is_file(), (path.relative_to(site), link)
            if anchor and found.suffix == ".html" and not anchor.startswith("__"):
                assert anchor in read(found).ids, (path.relative_to(site), link)


def test_formulas_are_mathml_in_the_pages(site: Path) -> None:
    for page in PAGES:
        written = file_of(page).read_text()
        text = built(site, page).read_text()
        assert "xformula" not in text, page
        assert text.count('<div class="formula"><math') == len(re.findall(r"^\$\$", written, re.MULTILINE))
        assert "$$" not in text, page


def test_formulas_are_taken_out_and_put_back_and_code_is_left(scripts: None) -> None:
    import mathematics

    code = "`$HOME` c\n\n```sh\necho $A $B\n```\n\n    $ zoo $x\n\n"
    page = f"a $x_1 * x_2$ b {code}$$ y \\sim z $$\n\n5$ and 6$\n"
    text, found = mathematics.take_out(page)
    assert len(found) == 2
    assert "`$HOME`" in text
    assert "echo $A $B" in text
    assert "    $ zoo $x" in text
    assert "5$ and 6$" in text
    html = mathematics.put_back("<p>a xformulax0x b</p>\n<p>xformulax1x</p>", found)
    assert html.startswith("<p>a <math")
    assert '<div class="formula"><math' in html
    assert "&#x0223C;" in html
    for wrong in (r"\unknowncommand x", r"\frac{1}{2", r"\begin{aligned} a &= b \end{aligned}"):
        with pytest.raises(ValueError, match="formula"):
            mathematics.mathml(wrong, block=False)


# -- what a tab, a search engine and a link preview show


def test_every_page_has_its_own_title_and_description(site: Path) -> None:
    heads = {page: read(built(site, page)) for page in PAGES}
    for what in ("title", "description"):
        seen: dict[str, str] = {}
        for page, head in heads.items():
            text = " ".join((head.title if what == "title" else head.metas["description"]).split())
            assert text, (what, page)
            assert text not in seen, (what, page, seen.get(text))
            assert not re.search(r"[`*$]|xformula", text), (what, page, text)
            seen[text] = page
    assert all(len(head.metas["description"]) <= 200 for head in heads.values())


def test_a_link_preview_has_a_title_and_an_image(site: Path) -> None:
    for page in ("index.md", "models/wgan.md"):
        path = built(site, page)
        metas = read(path).metas
        image = (path.parent / metas["og:image"]).read_bytes()
        assert struct.unpack(">II", image[16:24]) == (1200, 630)
        assert metas["og:title"]
        assert metas["og:description"] == metas["description"]


# -- tables


def plain(text: str) -> str:
    """Return a text of the code as a page shows it: on one line, without the marks of code."""
    return " ".join(text.replace("`", "").split())


def test_every_option_of_every_model_is_in_its_table_whole(site: Path, scripts: None) -> None:
    """Catches text that is read as HTML (`<data>`), a bar that ends a cell, and a line that becomes a row."""
    from pages.tables import value

    common = {key: info.default for key, info in options(RunConfig)}
    models = [entry.spec.name for entry in manager().entries("plugin") if entry.distribution == "genzoo"]
    assert {f"models/{name}.md" for name in models} < set(PAGES)
    for name in models:
        config = load_entry("plugin", manager().find("plugin", name), "config")
        rows = {row[0]: row for row in read(built(site, f"models/{name}.md")).rows if row}
        for key, info in options(config):
            if common.get(key, info) != info.default:
                expected = [
                    key,
                    type_name(info.annotation),
                    value(info.default),
                    plain(info.description or ""),
                ]
                assert rows[key] == expected, (name, key)
    rows = {row[0]: row for row in read(site / "options" / "index.html").rows if row}
    for key, info in options(RunConfig):
        assert rows[key][3] == plain(info.description or ""), key
        assert rows[key][2] != "", key


@pytest.mark.parametrize("page", GENERATED)
def test_no_row_of_a_table_is_empty(page: str, site: Path) -> None:
    for row in read(built(site, page)).rows:
        assert sum(not cell.strip() for cell in row) < 3, row
        assert row[0].strip(), row


def test_a_table_shows_any_text_as_it_is(scripts: None) -> None:
    """Catches an escape that is missing in a text, or in code."""
    import markdown
    import mathematics
    from pages.tables import code, prose, table, value

    texts = (
        "runs/<data>/<name>", "a | b", "two\nlines", "5 < 6 & 7", "costs $x$ or $y$", "*not* _emphasis_",
        "[text](target)", "back\\slash", "a_b_c and E[|x|^2]", "<script>alert(1)</script>", "# no heading",
    )  # fmt: skip
    cells = [(prose(text), code(text)) for text in texts]
    text, found = mathematics.take_out("\n".join(table(("prose", "code"), cells)))
    assert found == []
    html = markdown.markdown(text, extensions=["tables"])
    assert Reader(html).rows[1:] == [[" ".join(text.split())] * 2 for text in texts]
    assert prose("see `a|b` there") == "see <code>a&#124;b</code> there"
    assert [value(given) for given in ("", None, True, (1, 2.5), {"a": 1}, {})] == [
        '""', "none", "true", "[1, 2.5]", "{a: 1}", "{}",
    ]  # fmt: skip


# -- references to code


def test_every_reference_to_code_is_a_link_to_its_line(site: Path, scripts: None) -> None:
    """The line is compared with what Python itself says of the object, which the pages do not import."""
    import code_references

    seen = 0
    for page in PAGES:
        text = built(site, page).read_text()
        for name, words in set(code_references.references(file_of(page).read_text())):
            place = code_references.place_of(name, words)
            anchor = rf"\.html#L-{place.line}\"" if place.line else r"\.html\""
            assert re.search(rf'href="[^"]*source/{re.escape(place.path)}{anchor}', text), (page, name)
            if ":" in name and not words:
                thing: Any = importlib.import_module(name.partition(":")[0])
                for part in name.partition(":")[2].split("."):
                    thing = getattr(thing, part)
                if inspect.isclass(thing) or inspect.isfunction(thing):
                    lines, start = inspect.getsourcelines(inspect.unwrap(thing))
                else:
                    lines, start = (CHECKOUT / place.path).read_text().splitlines(), 1
                    assert lines[place.line - 1].startswith(name.rpartition(":")[2]), (name, place)
                assert start <= place.line < start + len(lines), (name, place)
            seen += 1
    assert seen > 100


def test_a_reference_to_code_that_is_gone_is_refused(scripts: None) -> None:
    import code_references

    for wrong in (
        "zoo_gan.losses:no_such",
        "zoo_gan.wgan:WGAN.no_such",
        "zoo_gan.nowhere:x",
        "ci/nothing.py",
    ):
        with pytest.raises(LookupError, match="is not"):
            code_references.place_of(wrong)
    with pytest.raises(LookupError, match="has no `no such words`"):
        code_references.place_of("zoo_gan.losses:hinge_critic", "no such words")
    inherited = code_references.resolve("zoo_gan.wgan:WGAN.sample")
    assert inherited.path == "plugins/zoo_gan/game.py"


def test_the_command_of_ci_names_a_broken_reference(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docs

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(
        "Code: `zoo_gan.losses:gone`, and `zoo_gan.losses:hinge_critic`.\n"
    )
    for name in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("text\n")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "DOCS", tmp_path / "docs")
    assert docs.broken_references() == ["docs/page.md: `zoo_gan.losses:gone` is not in the source"]


def test_addresses_are_named_once_and_make_all_links(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With [project.urls] a source page links to its file, a page to its editor, a preview to its image."""
    import repository
    from mkdocs.config import load_config
    from mkdocs.structure.files import File
    from mkdocs.structure.pages import Page

    def configured(urls: str) -> Any:
        (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "genzoo"\n{urls}')
        config = load_config(str(CHECKOUT / "mkdocs.yml"), hooks=[], site_dir=str(tmp_path / "site"))
        with monkeypatch.context() as patch:
            patch.setattr(repository, "ROOT", tmp_path)
            return repository.on_config(config)

    bare = configured("")
    assert not bare.repo_url
    assert not bare.site_url
    assert "repository</a>" not in repository.source_page("ci/words", bare.repo_url)
    made = configured(
        '[project.urls]\nRepository = "https://example.org/a/zoo"\nDocumentation = "https://zoo.example.org"\n'
    )
    assert made.site_url == "https://zoo.example.org/"
    there = '<a href="https://example.org/a/zoo/blob/main/ci/words">repository</a>'
    assert there in repository.source_page("ci/words", made.repo_url)
    page = Page(None, File("design.md", made.docs_dir, made.site_dir, True), made)
    assert page.edit_url == "https://example.org/a/zoo/edit/main/docs/design.md"
    assert page.canonical_url == "https://zoo.example.org/design/"


@pytest.mark.slow(depends=("docs/assets", "ci/theme", "mkdocs.yml"))
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index.html", "families/diffusion/index.html", "models/vae/index.html"])
def test_axe_finds_nothing_serious_on_the_site(browser: Any, site: Path, page: str, scheme: str) -> None:
    """Catches contrast, links that only a color marks, and parts without a name, in both schemes."""
    source = axe_source()
    if source is None:
        pytest.skip("needs axe-core: pip install axe-playwright-python")
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    opened.goto((site / page).as_uri())
    opened.wait_for_timeout(1000)
    opened.add_script_tag(content=source.read_text())
    found = opened.evaluate(
        """axe.run({ exclude: [["iframe"]] }).then(({ violations }) => violations.map((one) =>
            [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]))"""
    )
    opened.close()
    assert [one for one in found if one[0] in ("serious", "critical")] == []


# -- what is generated


def test_a_models_results_are_on_its_page(scripts: None, tmp_path: Path) -> None:
    """Three seeds are one row with an interval, in the table of their task, with the samples attached."""
    from pages.results import results_section, scored_rows

    made_results.write(tmp_path / "results" / "digits", *made_results.seeds("wgan", (1.0, 1.2, 1.4)))
    rows = [row for row in scored_rows(tmp_path) if row.plugin == "wgan"]
    assert [(row.data, row.task, row.seeds) for row in rows] == [("digits", "unconditional", 3)]
    text = "\n".join(results_section("wgan", rows))
    assert "| FD[digits]<br>1.20 ±0.50 | 3, reported |" in text  # t(2, 97.5 %) 0.2 / sqrt(3)
    assert "| `digits`<br>unconditional |" in text
    with_grid = rows[0]._replace(samples="results/digits/wgan/x-s0/samples-0.png")
    assert "](../../results/digits/wgan/x-s0/samples-0.png)" in "\n".join(
        results_section("wgan", [with_grid])
    )
    assert results_section("vae", []) == []


def test_the_readme_holds_the_ranked_rows_and_says_when_its_image_is_stale(
    scripts: None, tmp_path: Path
) -> None:
    """The table and the image are of one leaderboard in its order; another score is another digest."""
    from pages import figure
    from pages.assets import drawn_from
    from pages.figure import Shown, Strip
    from pages.readme import readme, shown_rows, weights
    from pages.results import scored_rows

    (tmp_path / "grid.png").write_bytes(_grid())

    def rows(best: tuple[float, ...]) -> list[Any]:
        folder = tmp_path / "results"
        shutil.rmtree(folder, ignore_errors=True)
        made_results.write(folder, *made_results.seeds("wgan", (1.0, 1.2, 1.4)))
        made_results.write(folder, *made_results.seeds("vae", best))
        return [row._replace(samples="grid.png") for row in scored_rows(tmp_path)]

    scored = rows((0.1, 0.12, 0.14))
    marks = "<!-- image -->\nold\n<!-- end of image -->\n\n<!-- results -->\nold\n<!-- end of results -->\n"
    text = readme(f"# zoo\n\n{marks}\nEnd.\n", scored)
    assert "old" not in text
    assert text.endswith("<!-- end of results -->\n\nEnd.\n")
    assert text.index("| [`vae`](docs/models/vae.md) | `digits` | 1 | 0.120&nbsp;±0.050 |") < text.index(
        "[`wgan`]"
    )
    assert "| `zoo://digits/wgan` |" in text
    assert weights("digits", "no-such-model") == weights("emoji", "copycat", tmp_path) == ""
    assert "42.6 (Miyato et al. 2018)" in text  # wgan's lowest of 42.6 and 159.09, without labels
    with pytest.raises(ValueError, match="end of results"):
        readme("# zoo\n", scored)

    ranked = shown_rows(scored)
    levels = [np.full((8, 8), 20 * k, dtype=np.uint8) for k in range(8)]
    image = Shown("a", "b", [Strip("vae", "FD 1", "vae", levels)] * 2, ranked)
    (tmp_path / "image.png").write_bytes(figure.draw(image))
    drawn = figure.digest(image)
    assert drawn_from(tmp_path / "image.png") == drawn
    assert drawn_from(tmp_path / "none.png") == ""
    strip = image.strips[0]
    others = (
        image._replace(title="c"),
        image._replace(note="c"),
        image._replace(ranked=shown_rows(rows((0.1, 0.12, 0.15)))),
        *(image._replace(strips=[strip._replace(**{key: "c"})] * 2) for key in ("name", "note", "family")),
        image._replace(strips=[strip._replace(images=levels[::-1])] * 2),
    )
    assert drawn not in {figure.digest(one) for one in others}
    unseen = [*levels[: figure.CELLS], levels[0]]
    assert figure.digest(image._replace(strips=[strip._replace(images=unseen)] * 2)) == drawn


def test_a_plot_of_other_inputs_is_stale(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plot is drawn by its script from its record; a change of either or of a module makes it stale."""
    from pages import assets

    asset = assets.Asset("plot.png", "draw.py", "scores.json", ("style.py",))
    monkeypatch.setattr(assets, "ASSETS", (asset,))
    record, style = tmp_path / "results" / "scores.json", tmp_path / "style.py"
    script, image = tmp_path / "ci" / "studies" / "draw.py", tmp_path / "docs" / "assets" / "plot.png"
    for folder in (record.parent, script.parent, image.parent):
        folder.mkdir(parents=True)
    record.write_text("[7, 9]")
    style.write_text("")
    script.write_text(
        "import json, sys\nfrom PIL import Image\n"
        "image = Image.new('L', (2, 1))\nimage.putdata(json.load(open(sys.argv[1])))\n"
        "image.save(sys.argv[3])\n"
    )
    assert assets.stale_assets(tmp_path) == [asset]
    for path in (record, style, script):
        assets.draw_asset(asset, tmp_path)
        assert assets.stale_assets(tmp_path) == []
        assert Image.open(image).tobytes() == bytes([7, 9])
        path.write_text(path.read_text() + "\n")
        assert assets.stale_assets(tmp_path) == [asset]


def test_the_image_of_the_readme_shows_the_best_of_each_family_of_a_task(
    scripts: None, tmp_path: Path
) -> None:
    """Ranked rows are of one leaderboard; copies, baselines and other data are not shown."""
    from pages.figure import CELLS
    from pages.readme import SAMPLED, image_rows, image_strips, readme, sampled_rows, shown_rows
    from pages.results import scored_rows

    (tmp_path / "grid.png").write_bytes(_grid())
    made_results.write(tmp_path / "results", *made_results.seeds("wgan", (1.0, 1.2, 1.4)))
    made_results.write(tmp_path / "results", *made_results.seeds("vae", (0.1, 0.12, 0.14)))
    vae, wgan = (row._replace(samples="grid.png") for row in scored_rows(tmp_path))
    of = [row._replace(data=SAMPLED, rank=rank) for row, rank in ((vae, "? of 2"), (wgan, "- of 2"))]
    assert sampled_rows(of, "unconditional") == of[:1]
    assert sampled_rows(of, "class") == []
    second = of[0]._replace(plugin="hvae")
    assert sampled_rows([of[0], second], "unconditional") == of[:1]
    unfit = [of[0]._replace(family="baseline"), of[0]._replace(samples=""), vae]
    assert sampled_rows(unfit, "unconditional") == []
    families = [of[0]._replace(family=str(k)) for k in range(9)]
    assert sampled_rows(families, "unconditional") == families[:4]

    copies = of[0]._replace(plugin="copycat", family="baseline")
    enlarged = of[0]._replace(task="paired from lowres", plugin="pix2pix")
    strips = image_strips([*of, copies, enlarged], tmp_path)
    assert [strip.name for strip in strips] == ["real images", "vae", "8x8 pixels", "pix2pix"]
    for image in strips[2].images:  # one color for each block of 4x4
        assert image.shape == (32, 32, 3)
        assert (image == image[::4, ::4].repeat(4, 0).repeat(4, 1)).all()
    assert len(strips[2].images) == CELLS
    assert image_rows([*of, vae], tmp_path).ranked == shown_rows([vae])
    many = [of[0]._replace(rank="1 of 9")] * 8
    assert image_rows([*many, vae], tmp_path).ranked == many  # enough have a rank where the samples are from
    marks = "<!-- image -->\nold\n<!-- end of image -->\n\n<!-- results -->\nold\n<!-- end of results -->\n"
    assert "samples.png" not in readme(marks, [vae])  # nothing to draw


def test_the_image_of_the_readme_is_a_card_of_whole_pixels(scripts: None, tmp_path: Path) -> None:
    """Outside its corners nothing is drawn; a pixel of a sample is a square of 12 x 12 equal ones."""
    from pages import figure
    from pages.results import scored_rows

    (tmp_path / "grid.png").write_bytes(_grid())
    made_results.write(tmp_path / "results", *made_results.seeds("wgan", (1.0, 1.2, 1.4)))
    strip = figure.Strip("wgan", "", "gan", [np.full((8, 8), 20 * k, dtype=np.uint8) for k in range(8)])
    shown = figure.Shown("", "", [strip], list(scored_rows(tmp_path)))
    drawn = Image.open(io.BytesIO(figure.draw(shown))).convert("RGBA")
    levels = np.asarray(drawn)
    assert (levels[0, 0, 3], levels[-1, -1, 3], levels[40, 40, 3]) == (0, 0, 255)
    assert drawn.width == figure.WIDTH
    left = figure.MARGIN + figure.NAMES + 5 * (figure.TILE + figure.GAP)
    sixth = levels[figure.TOP + 2 : figure.TOP + figure.TILE - 2, left + 2 : left + figure.TILE - 2, :3]
    assert (sixth == 20 * 5).all()  # an 8x8 cell of one level, enlarged to 96 x 96


def _grid() -> bytes:
    """Return a sample grid of eight cells of 8x8 levels with the gray lines between them."""
    levels = np.full((10, 8 * 9 + 1), 110, dtype=np.uint8)
    for k in range(8):
        levels[1:9, 9 * k + 1 : 9 * k + 9] = 20 * k
    written = io.BytesIO()
    Image.fromarray(levels).save(written, "PNG")
    return written.getvalue()


def test_samplers_are_described_as_they_behave(scripts: None) -> None:
    """Orders and counts of the papers: Karras et al. 2022 (Euler, Heun), Lu et al. 2022 (DPM-Solver++)."""
    from pages.listings import behavior

    from zoo_core.diffusion.specs import SAMPLERS

    found = {
        spec.name: behavior(spec)[:2]
        for spec in SAMPLERS
        if spec.name in ("euler", "heun", "dpmpp-2m", "ddpm")
    }
    assert found == {
        "ddpm": ("N", "stochastic"),
        "euler": ("N", "1"),
        "heun": ("2N - 1", "2"),
        "dpmpp-2m": ("N", "2"),
    }


def test_the_leaderboard_is_in_the_site_where_there_are_results(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import repository

    monkeypatch.setattr(repository, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    assert repository.leaderboard() is None
    made_results.write(tmp_path / "results", made_results.result("wgan", 1.0))
    board = repository.leaderboard()
    assert board is not None
    assert "wgan" in board

    class Files(dict[str, str]):
        get_file_from_path = dict.get

    page = SimpleNamespace(meta={}, file=SimpleNamespace(src_uri="index.md"))
    readme = "# zoo\n\nA text.\n\n<!-- board -->\n"
    for files, shown in ((Files({repository.BOARD: board}), True), (Files(), False)):
        text = repository.on_page_markdown(readme, page=page, config=None, files=files)
        assert ('<iframe class="board" src="board/index.html"' in text) is shown
        assert "<!-- board -->" not in text


def test_the_interactive_page_is_in_the_site_where_it_was_made(
    scripts: None, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each page that links to it says in one line why it does not."""
    import repository

    class Files(list[Any]):
        def get_file_from_path(self, path: str) -> Any:
            return next((one for one in self if one.src_uri == path), None)

    pages = ("index.md", "course/overview.md", "course/interactive.md")
    for page in pages:
        assert "does not include it: <code>zoo course browser</code>" in built(site, page).read_text()
    (tmp_path / "page.html").write_text("<!doctype html>")
    monkeypatch.setenv("ZOO_COURSE_PAGE", str(tmp_path / "page.html"))
    monkeypatch.setattr(repository, "leaderboard", lambda: None)
    monkeypatch.setattr(repository, "social_image", lambda: b"")
    config = SimpleNamespace(site_dir=str(tmp_path / "site"), use_directory_urls=True)
    config.plugins = SimpleNamespace(_current_plugin=None)
    files = repository.on_files(Files(), config)
    assert files.get_file_from_path(repository.INTERACTIVE) is not None
    links = [repository.interactive_link(page, files) for page in pages]
    assert links == ["[Open it](course/browser.html).", *["[Open it](browser.html)."] * 2]
