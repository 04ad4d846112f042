"""A page that needs no network: its frame, text, tables and figures, in the palette's light or dark colours."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from plusx.report.palette import declarations

SIDE = 112  # pixels of a thumbnail's longer side
STYLE = (
    f"""
:root {{ color-scheme: light dark; {declarations(0)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {declarations(1)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans KR", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; } a { color: var(--residual); }
figure { margin: 1.2rem 0; } figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; max-width: 46rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem 1.5rem; }
.panels svg { width: 100%; max-width: 34rem; height: auto; display: block; }
.scroll { --shade: color-mix(in srgb, var(--soft) 55%, transparent); overflow-x: auto; margin: .8rem 0; background:
  linear-gradient(to right, var(--ground) 30%, transparent) 0 0 / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--ground) 30%, transparent) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) 0 0 / .7rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) 100% 0 / .7rem 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: inherit; } th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .88rem; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts th { color: var(--soft); width: 1%; vertical-align: top; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1.2rem 1rem;
  margin-top: .8rem; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; }
.sheet figure { margin: 0; } .sheet figcaption { line-height: 1.35; overflow-wrap: anywhere; }
.sheet img { width: 100%; height: auto; aspect-ratio: 1; object-fit: cover; display: block; }
.sheet b { color: var(--ink); font-weight: 600; } .sheet .wrong { color: var(--wrong); }
.found { border-top: 1px solid var(--line); padding-top: 1rem; } .found p { grid-column: 1 / -1; margin: 0; }
.level { color: var(--soft); font-weight: 400; font-size: .88rem; }
.files .fault, .fault { color: var(--wrong); }
code { font-size: .85em; overflow-wrap: anywhere; user-select: all; unicode-bidi: isolate; }
.paths { user-select: all; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; unicode-bidi: isolate; }
.pixels { image-rendering: pixelated; }
.files { margin: .8rem 0; padding: 0; list-style: none; } .files li { padding: .3rem 0; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--line); } .files span { color: var(--soft); }
.wide { width: 100%; max-width: 34rem; height: auto; display: block; }
.confusion { width: auto; }
.confusion td, .confusion th { text-align: center; padding: .3rem .5rem; min-width: 2.4rem; }
.confusion tbody th { text-align: right; position: sticky; left: 0; background: var(--ground);
  max-width: min(16rem, 30vw); overflow: hidden; text-overflow: ellipsis; }
.confusion thead th { vertical-align: bottom; }
.confusion .upright span { writing-mode: vertical-rl; transform: rotate(180deg); }
.confusion .right, .confusion thead td { color: var(--soft); }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); }
"""
)


def page(title: str, body: Iterable[str], *, refresh: int | None = None) -> bytes:
    """A whole page of a heading and what follows it.

    Args:
        title: Heading, as text.
        body: Pieces of HTML.
        refresh: Seconds after which a browser reads the page again; None for a page that is done.
    """
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh}">'
    shown = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}<title>{shown}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{shown}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    ).encode()


def heading(text: str) -> str:
    """What a part of the page is about."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A sentence or more."""
    return f"<p>{html.escape(text)}</p>"


def illustration(drawing: str, caption: str) -> str:
    """A figure, whose panels stand side by side where there is room, and what it shows.

    Args:
        drawing: SVG elements, or an image of `embedded`.
        caption: One sentence or more, as text.
    """
    shown = html.escape(caption)
    panels = f'<div class="panels" role="img" aria-label="{shown}">{drawing}</div>'
    return f"<figure>{panels if '<svg' in drawing else drawing}<figcaption>{shown}</figcaption></figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, links: Mapping[str, str] | None = None) -> str:
    """Numbers to the right of what they are of.

    Args:
        head: Name of each column.
        rows: Cells as text; the first says what the others are of.
        links: Address of what the first cell names, by its text.
    """
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join(_row(first, cells, (links or {}).get(first)) for first, *cells in rows)
    return scrolling(f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, as text."""
    return scrolling(
        f'<table class="facts"><tbody>{"".join(_row(name, [fact]) for name, fact in pairs)}</tbody></table>'
    )


def files(named: Iterable[tuple[str, str]]) -> str:
    """Files, each with what is said of it, as text; long paths are wrapped."""
    each = (f"<li>{html.escape(file)} <span>{html.escape(said)}</span></li>" for file, said in named)
    return f'<ul class="files">{"".join(each)}</ul>'


def scrolling(table: str) -> str:
    """A table that may be wider than the page; where it is, its edge is shaded, and the arrow keys move it."""
    return f'<div class="scroll" tabindex="0">{table}</div>'


def embedded(image: Image.Image, alt: str, *, css: str = "", lossless: bool) -> str:
    """An image within the page.

    Args:
        image: As it is.
        alt: What it shows, for those who do not see it.
        css: Its class.
        lossless: As PNG, for images of few pixels; else JPEG.
    """
    buffer, kind = io.BytesIO(), "png" if lossless else "jpeg"
    image.save(buffer, kind, quality=88)
    source = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f'<img class="{css}" src="{source}" alt="{html.escape(alt)}" width="{image.width}" height="{image.height}">'


def thumbnail(image: Image.Image, alt: str) -> str:
    """Small images as they are, in large pixels; photos at twice the size shown, for screens of double density."""
    small = max(image.size) <= SIDE
    if not small:
        image.thumbnail((2 * SIDE, 2 * SIDE))
    return embedded(image, alt, css="pixels" if small else "", lossless=small)


def _row(first: str, cells: Iterable[str], link: str | None = None) -> str:
    name = html.escape(first)
    shown = f'<a href="{html.escape(link)}">{name}</a>' if link else name
    return f'<tr><th scope="row">{shown}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'
