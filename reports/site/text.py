"""Markdown of the tables as HTML: its tables scroll and sort, its pictures zoom."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markupsafe import Markup

PICTURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)$", flags=re.MULTILINE)
SCROLL = '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table class="sortable">\n'


def to_html(markdown: str, figure: Callable[[str, str], str]) -> Markup:
    """The text without any HTML that it may hold; `figure(name, caption)` draws a picture that stands on its own line.

    A section of a table begins with a heading of the second level, as it does in Markdown.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: SCROLL)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("link_open", _link)
    parts = PICTURE.split(markdown)
    pieces = [parser.render(parts[0])]
    for caption, path, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        pieces += [figure(PurePosixPath(path).stem, caption), parser.render(text)]
    return Markup("".join(pieces))


def _link(renderer, tokens, index, options, environment) -> str:
    # The pages of Markdown that lie beside each other are pages of HTML here.
    href = str(tokens[index].attrs["href"])
    if "/" not in href and href.endswith(".md"):
        tokens[index].attrSet("href", href.removesuffix(".md") + ".html")
    return renderer.renderToken(tokens, index, options, environment)
