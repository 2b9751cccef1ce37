"""A hook of the documentation site: what lies in the repository outside docs/ becomes part of the site.

README.md is the first page, and CONTRIBUTING.md and CHANGELOG.md are pages. `module:name` and names of files
in code become links to the line of the source, which is a page of its own. Links to files of the repository
are changed to where the site has them. The leaderboard of results/ is built, and the image for link previews
is drawn. The interactive page of the course is the file that ZOO_COURSE_PAGE names; `ci/site` writes it.
"""

from __future__ import annotations

import html
import io
import os
import posixpath
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from code_references import FILE, REFERENCE, ROOT, Place, place_of

BORROWED = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages that are written elsewhere in the repository: page of the site -> file."""
BOARD = "board/index.html"
INTERACTIVE = "course/browser.html"
SOCIAL = "assets/social.png"
KINDS = {"families": "equations and code", "course": "course"}
"""Folder of pages -> what follows their title in a tab, because titles of several folders are the same."""
_FENCE = r"^ *(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence) *$"
_LINK = re.compile(_FENCE + r"|`+[^`\n]+`+|\]\((?P<target>[^)\s]+)\)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(
    rf"<pre.*?</pre>|<a\b.*?</a>|<code>(?P<name>{REFERENCE.pattern}|{FILE.pattern})</code>"
    r"(?P<at>,\s+at\s+<code>(?P<words>[^<]+)</code>)?",
    re.DOTALL,
)


def on_config(config: Any) -> Any:
    """Take the addresses from pyproject.toml, where it has them.

    `Repository` of [project.urls] makes links to the repository, to its files and to edit a page;
    `Documentation` is the address of the site, which the image for link previews and canonical links need.
    """
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    if not config.repo_url and "Repository" in urls:
        config.repo_url = urls["Repository"].rstrip("/") + "/"
        config.repo_name = "repository"
        config.edit_uri = "edit/main/docs/"
    if not config.site_url and "Documentation" in urls:
        config.site_url = urls["Documentation"].rstrip("/") + "/"
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere, the leaderboard, the interactive page, and the image for previews."""
    from mkdocs.structure.files import File

    for page, source in BORROWED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    board = leaderboard()
    if board is not None:
        files.append(_static(config, BOARD, content=board))
    if os.environ.get("ZOO_COURSE_PAGE"):
        files.append(_static(config, INTERACTIVE, abs_src_path=os.environ["ZOO_COURSE_PAGE"]))
    files.append(_static(config, SOCIAL, content=social_image()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any, **_: Any) -> str:
    """Point links to the repository's files at the site; derive the description from the first paragraph."""
    summary = first_paragraph(markdown)
    page.meta.setdefault("description", shortened(summary))
    title = re.sub(r"[`*]", "", markdown.partition("# ")[2].partition("\n")[0])
    if page.file.src_uri.startswith("models/") and not page.file.src_uri.endswith("index.md"):
        title = f"{title}: {summary.rstrip('.')}"
    elif kind := KINDS.get(posixpath.dirname(page.file.src_uri)):
        title = f"{title}: {kind}"
    page.meta.setdefault("title", title)

    def moved(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or re.match(r"[a-z]+:|#|/", target):
            return match[0]
        return f"]({_moved(target, page.file.src_uri, config, files)})"

    text = _LINK.sub(moved, markdown)
    text = text.replace("<!-- interactive -->", interactive_link(page.file.src_uri, files))
    return text.replace("<!-- board -->", board_frame(files)) if page.file.src_uri == "index.md" else text


def _moved(target: str, page: str, config: Any, files: Any) -> str:
    """Return a link's target, relative to the page's file in the repository, as one within the site."""
    target, mark, anchor = target.partition("#")
    folder = posixpath.dirname(BORROWED.get(page, f"docs/{page}"))
    path = posixpath.normpath(posixpath.join(folder, target))
    there = {source: name for name, source in BORROWED.items()}
    if path.startswith("docs/"):
        path = path.removeprefix("docs/")
    elif path in there:
        path = there[path]
    elif path.endswith(".png"):  # of a committed result
        if files.get_file_from_path(path) is None:
            files.append(_static(config, path, abs_src_path=str(ROOT / path)))
    else:
        path = add_source(Place(path, 0), config, files)
    return posixpath.relpath(path, posixpath.dirname(page)) + mark + anchor


def on_page_content(html_: str, page: Any, config: Any, files: Any, **_: Any) -> str:
    """Make `module:name` and names of files links to their line.

    Raises:
        LookupError: where the code is gone, which stops the build.
    """

    def linked(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        words = html.unescape(match["words"] or "")
        place = place_of(match["name"], " ".join(words.split()))
        address = posixpath.relpath(add_source(place, config, files), page.url or ".")
        anchor = f"#L-{place.line}" if place.line else ""
        return (
            f'<a class="source" href="{address}{anchor}"><code>{match["name"]}</code></a>{match["at"] or ""}'
        )

    return _CODE.sub(linked, html_)


def add_source(place: Place, config: Any, files: Any) -> str:
    """Add the page of a source file to the site, once; return its path."""
    path = f"source/{place.path}.html"
    if files.get_file_from_path(path) is None:
        files.append(_static(config, path, content=source_page(place.path, config.repo_url)))
    return path


def _static(config: Any, path: str, **how: Any) -> Any:
    from mkdocs.structure.files import File

    return File.generated(config, path, **how)


def source_page(path: str, repository: str | None) -> str:
    """Return a source file as a page with an anchor for each line: `#L-12`."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    light, dark = HtmlFormatter(style="xcode"), HtmlFormatter(style="github-dark")
    body = highlight((ROOT / path).read_text(), lexer, HtmlFormatter(linespans="L", wrapcode=True))
    up = "../" * (path.count("/") + 1)
    link = f'<a href="{repository.rstrip("/")}/blob/main/{path}">repository</a>' if repository else ""
    return SOURCE.format(
        path=html.escape(path),
        up=up,
        link=link,
        light=light.get_style_defs(".highlight"),
        dark=dark.get_style_defs(".highlight"),
        body=body,
    )


SOURCE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex">
<title>{path} - zoo</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; font-family: system-ui, sans-serif; font-size: 14px; }}
header {{ padding: 0.8em 1.2em; border-bottom: 1px solid #8884; display: flex; gap: 1.5em; flex-wrap: wrap; }}
header b {{ font-family: ui-monospace, monospace; }}
pre {{ margin: 0; padding: 1em 0; overflow-x: auto; line-height: 1.45; counter-reset: line; }}
pre code > span {{ display: block; padding-right: 1em; counter-increment: line; }}
pre code > span::before {{ content: counter(line); display: inline-block; width: 3.2em; margin-right: 1.2em;
  text-align: right; opacity: 0.6; user-select: none; }}
pre code > span:target {{ background: #ffd54f55; scroll-margin-top: 30vh; }}
{light}
@media (prefers-color-scheme: dark) {{
body {{ background: #0d1117; color: #e6edf3; }}
a {{ color: #79c0ff; }}
{dark}
}}
</style>
</head>
<body>
<header><a href="{up}index.html">zoo</a><b>{path}</b>{link}</header>
<main tabindex="0" aria-label="source of {path}">{body}</main>
</body>
</html>
"""


def board_frame(files: Any) -> str:
    """Return the leaderboard of results/ within a page; "" where no result of this version is committed."""
    if files.get_file_from_path(BOARD) is None:
        return ""
    return (
        '<iframe class="board" src="board/index.html" title="Leaderboard of the committed results" '
        'loading="lazy"></iframe>\n\n[Open the leaderboard by itself](board/index.html)'
    )


def interactive_link(page: str, files: Any) -> str:
    """Return a link to the interactive page from a page, or a line that says why there is none."""
    if files.get_file_from_path(INTERACTIVE) is None:
        return "This build of the site does not include it: `zoo course browser` writes it."
    return f"[Open it]({posixpath.relpath(INTERACTIVE, posixpath.dirname(page))})."


def leaderboard() -> str | None:
    """Return the page that `zoo leaderboard results --html` writes; None where there is nothing to rank."""
    from zoo_eval.leaderboard.facts import installed
    from zoo_eval.leaderboard.page import write_page
    from zoo_eval.leaderboard.table import make_groups
    from zoo_eval.store import collect

    entries, bad = collect([ROOT / "results"])
    if not entries:
        return None
    with tempfile.TemporaryDirectory() as folder:
        write_page(make_groups(entries, installed()), Path(folder), bad, None)
        return (Path(folder) / "index.html").read_text()


def social_image() -> bytes:
    """Return the image for link previews: 1200 x 630 pixels, the README's first image under the title."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sheet = Image.new("RGB", (1200, 630), "#1b2038")
    draw = ImageDraw.Draw(sheet)
    draw.text((60, 44), "zoo", "white", ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), 84))
    draw.text(
        (60, 156),
        "Train, score and rank deep generative models",
        "#c5cae9",
        ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 38),
    )
    shown = re.search(r"!\[[^\]]*\]\(([^)]+\.png)\)", (ROOT / "README.md").read_text())
    if shown:
        image = Image.open(ROOT / shown[1]).convert("RGBA")
        scale = min(1080 / image.width, 340 / image.height)
        size = (round(image.width * scale), round(image.height * scale))
        small = image.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(small, ((1200 - size[0]) // 2, 240 + (340 - size[1]) // 2), small)
    written = io.BytesIO()
    sheet.save(written, "PNG", optimize=True)
    return written.getvalue()


def first_paragraph(markdown: str) -> str:
    """Return the first paragraph under the title as plain text."""
    for block in re.split(r"\n\s*\n", re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)):
        text = " ".join(block.split())
        if text and not re.match(r"[#!<|`$-]", text):
            text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
            return html.unescape(re.sub(r"[*`$]", "", text))
    return ""


def shortened(text: str, longest: int = 200) -> str:
    """Return whole sentences of a text up to a length, or whole words where the first sentence is longer."""
    if len(text) <= longest:
        return text
    sentences = re.match(rf".{{1,{longest - 1}}}[.](?=\s)", text)
    return sentences[0] if sentences else text[: longest - 4].rsplit(" ", 1)[0] + " ..."
