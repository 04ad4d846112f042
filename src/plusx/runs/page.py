"""A page that needs no network: its frame, tables, and figures as SVG that follow its light or dark colours."""

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #667085; --line: #e3e6ea; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #9aa4b2; --line: #2e343d; --paper: #14171c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans KR", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; } .soft { color: var(--soft); }
figure { margin: 1.2rem 0; } figure svg { width: 100%; height: auto; display: block; color: var(--ink); }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; max-width: 46rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: .88rem; } th:first-child, td:first-child { text-align: left; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts td:first-child { color: var(--soft); white-space: nowrap; width: 1%; vertical-align: top; }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); }
"""


def page(title: str, body: Iterable[str]) -> bytes:
    """A whole page of a heading and what follows it.

    Args:
        title: Heading, as text.
        body: Pieces of HTML.
    """
    shown = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{shown}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{shown}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    ).encode()


def paragraph(text: str) -> str:
    """A sentence or more."""
    return f"<p>{html.escape(text)}</p>"


def illustration(svg: str, caption: str) -> str:
    """A figure and what it shows."""
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Numbers to the right of what they are of."""
    return f'<div class="scroll"><table>{_row(head, "th")}{"".join(_row(row, "td") for row in rows)}</table></div>'


def facts(pairs: Iterable[Sequence[str]]) -> str:
    """Names and what they are, as text."""
    return f'<div class="scroll"><table class="facts">{"".join(_row(pair, "td") for pair in pairs)}</table></div>'


def _row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
