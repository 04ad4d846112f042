"""What verbs print: aligned tables, JSON, and text that fits the terminal."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Print aligned columns, the first to the left and all others to the right.

    Where the terminal is too narrow, the columns named in `spare` are left out, beginning with the first.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns, left_out = fitting(list(zip(head, *rows, strict=True)), spare, between=3)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, (title, *cells) in enumerate(columns):
        # A head may take several lines; a cell only where nothing else helps.
        wide = max(map(len, cells), default=0)
        table.add_column(title, justify="left" if index == 0 else "right", min_width=wide, overflow="fold")
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*row)
    Console(width=width(), height=25, markup=False).print(table)  # without a height, rich may not take the width
    if left_out:
        print(f"{left_out}\n")


def fitting(columns: list[tuple[str, ...]], spare: Sequence[str], *, between: int) -> tuple[list[tuple[str, ...]], str]:
    """The columns that the terminal has room for, and a sentence about those that it has no room for."""
    left_out = []
    for title in spare:
        if sum(max(map(len, column)) + between for column in columns) - 1 > width():
            columns = [column for column in columns if column[0] != title]
            left_out.append(title)
    note = f"The terminal is too narrow for {', '.join(left_out)}; a pipe or --json shows them."
    return columns, filled(note) if left_out else ""


def print_field(setting: str, sentence: str, choices: Sequence[str], several: str = "One of") -> None:
    """Print a field as it is set, and below it what it means and which values it takes."""
    print(setting)
    others = f" {several} {', '.join(choices)}." if choices and set(choices) != {"true", "false"} else ""
    if about := f"{sentence}{others}".strip():
        print(filled(f"    {about}", 4))


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object in one line."""
    print(json.dumps(content, ensure_ascii=False))


def filled(text: str, indent: int = 0) -> str:
    """Text in lines of the terminal's width, but of at most 100 characters, which are read with ease."""
    return textwrap.fill(
        text, min(width(), 100), subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )


def per_cent(share: float) -> str:
    """A share as it is printed."""
    return f"{100 * share:.2f} %"


def per_cent_of(part: int, whole: int) -> str:
    """A number of images, and which share of all they are."""
    return f"{part:,} of {whole:,} images ({per_cent(part / whole)})"


def width() -> int:
    """Characters of a line; off a terminal nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
