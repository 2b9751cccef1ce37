"""A hook of the documentation site: formulae between dollars become MathML while the pages are built.

`$...$` stands within a line; `$$...$$` stands alone. Code is left as it is. No script and no font is needed
to read the result. A formula that can't be read stops the build.
"""

from __future__ import annotations

import re
from typing import Any

_CODE = r"(?P<code>^ *(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence) *$|(?:(?<=\n\n)(?: {4}[^\n]*\n)+)|`+[^`\n]+`+)"
_FORMULA = re.compile(
    _CODE + r"|\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<line>[^$\s](?:[^$\n]*[^$\s])?)\$(?![\d$])",
    re.MULTILINE | re.DOTALL,
)
_PLACE = "xformulax{}x"
_TIDY = {
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",  # \sim is a relation, with space about it
    "<mi>log</mi>": '<mo lspace="0" rspace="0.17em">log</mo>',  # as it writes \det
}
"""What the converter writes as a letter, and what it is."""


def mathml(tex: str, *, block: bool) -> str:
    """Return a formula of LaTeX as MathML.

    Args:
        tex: without its dollars.
        block: set on a line of its own.

    Raises:
        ValueError: where it can't be read.
    """
    from latex2mathml.converter import convert

    if tex.count("{") != tex.count("}"):
        raise ValueError(f"the formula {tex!r} has a brace without its partner")
    try:
        text = convert(" ".join(tex.split()), display="block" if block else "inline")
    except Exception as error:
        raise ValueError(f"can't read the formula {tex!r}: {error}") from error
    if re.search(r"<m[ion]>(\\|&(amp;)?<)", text):
        raise ValueError(f"the formula {tex!r} has a command that is not known")
    for letter, operator in _TIDY.items():
        text = text.replace(letter, operator)
    return str(text)


def take_out(markdown: str) -> tuple[str, list[str]]:
    """Return the page with a word in the place of each formula, and the formulae as MathML."""
    found: list[str] = []

    def place(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        block = match["block"] is not None
        made = mathml(match["block"] if block else match["line"], block=block)
        found.append(f'<div class="formula">{made}</div>' if block else made)
        word = _PLACE.format(len(found) - 1)
        return f"\n\n{word}\n\n" if block else word

    return _FORMULA.sub(place, markdown), found


def put_back(html: str, found: list[str]) -> str:
    """Return the page's HTML with the formulae where their words stood."""
    for number, made in enumerate(found):
        word = _PLACE.format(number)
        html = html.replace(f"<p>{word}</p>", made).replace(word, made)
    return re.sub(r"<p>(?=(Code|No code):)", '<p class="carrier">', html)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Take the formulae out before Markdown sees their underscores."""
    text, page.formulae = take_out(markdown)
    return text


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Put them back."""
    return put_back(html, page.formulae)
