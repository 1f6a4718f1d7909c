"""Text that anybody may have chosen, put into pages so that it is only text there."""

from __future__ import annotations

import re
from html import escape

_MARKDOWN = re.compile(r"([\\`*_\[\]#!~])")


def visible(text: str) -> str:
    """One line without what a reader cannot see: controls, halves of letters, signs that turn the order of letters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def html_text(text: str) -> str:
    """For HTML and SVG, also within the quotes of an attribute."""
    return escape(visible(text), quote=True)


def markdown_text(text: str) -> str:
    """For Markdown within a line or a cell of `markdown_table`, which takes care of the bars itself."""
    return _escaped(visible(text))


def markdown_hint(text: str) -> str:
    """The same for a sentence of ours that may quote others: what it marks as code stays code."""
    parts = visible(text).split("`")
    if len(parts) % 2 == 0:  # then a backtick is somebody else's
        return markdown_text(text)
    return "`".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", escape(text, quote=False))
