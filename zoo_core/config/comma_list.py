"""Comma lists as a user types them: quotes and brackets keep their commas."""

from __future__ import annotations

from zoo_core.errors import UsageError

_OPEN, _CLOSE = "[{(", "]})"


def split(text: str) -> list[str]:
    """Return the values of a comma list; a value in single or double quotes loses its quotes.

    "a,b" has two values, "[0.5,0.9],[0,1]" two, "'tea, green',coffee" two.

    Raises:
        UsageError: where a quote or a bracket is not closed.
    """
    if "," not in text:
        return [_bare(text)]
    values, start, depth, quote = [], 0, 0, ""
    for place, letter in enumerate(text):
        if quote:
            if letter == quote and text[place + 1 :].lstrip()[:1] in ("", ","):
                quote = ""
        elif letter in "'\"" and not text[start:place].strip():
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif letter == "," and depth == 0:
            values.append(_bare(text[start:place]))
            start = place + 1
        if depth < 0:
            break
    if quote or depth:
        problem = f"the quote {quote} is not closed" if quote else "brackets are not balanced"
        raise UsageError(
            f"can't read the list {text[:200]!r}: {problem}",
            "expected: values separated by commas; quote a value that contains commas: \"'a,b',c\"",
        )
    return [*values, _bare(text[start:])]


def _bare(value: str) -> str:
    text = value.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else value
