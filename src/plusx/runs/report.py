"""report.html: what runs were, and how they went, as one page that needs no network.

Figures are SVG inside the page and follow its light or dark colours.
"""

import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx.runs.card import Card
from plusx.runs.store import read_card, read_metrics, replace_file

_INK = "#010203"  # stands for the page's text colour until the figure is in the page
_COLOURS = ("#dc5a1b", "#3b7df0", "#059669", "#9333ea", "#b45309", "#0891b2")
_PARTS = {"train": "training", "val": "validation", "test": "test"}

_STYLE = """
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


@dataclass(frozen=True)
class _Finished:
    """A run as the report sees it."""

    card: Card
    curves: Mapping[str, tuple[list[int], list[float]]]
    """Name of a measurement to steps and values."""

    @property
    def name(self) -> str:
        return self.card.recipe.net.name

    @property
    def steps_per_epoch(self) -> float:
        return self.card.source["images"]["train"] / self.card.recipe.batch_size


def write_report(runs: Sequence[Path], out: Path, *, title: str, findings: Sequence[str] = ()) -> None:
    """One page about one run, or about several that are compared.

    Args:
        runs: Run directories.
        out: The page.
        title: Its heading.
        findings: Sentences under the heading: what the numbers say.
    """
    finished = [_read(run) for run in runs]
    figures = _comparison(finished) if len(finished) > 1 else _single(finished[0])
    body = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(sentence)}</p>" for sentence in findings),
        _results_table(finished),
        *(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>" for svg, caption in figures),
        "<h2>What was run</h2>",
        _facts(finished[0], several=len(finished) > 1),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    replace_file(out, page.encode())


def comparison_svg(runs: Sequence[Path]) -> str:
    """The figure that a report of several runs shows, as SVG whose text has the page's colour (`currentColor`).

    Args:
        runs: Run directories, each with training and test errors.
    """
    return _comparison([_read(run) for run in runs])[0][0]


def _read(run: Path) -> _Finished:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for record in read_metrics(run):
        steps, values = curves.setdefault(record["name"], ([], []))
        steps.append(record["step"])
        values.append(record["value"])
    return _Finished(read_card(run), curves)


def _results_table(runs: Sequence[_Finished]) -> str:
    parts = [p for p in _PARTS if any(f"{p}_error" in r.card.results for r in runs)]
    head = ["net", "parameters", *(f"{_PARTS[p]} error" for p in parts), "steps", "images/s", "training time"]
    rows = []
    for run in runs:
        results = run.card.results
        errors = [f"{100 * results[f'{p}_error']:.2f} %" if f"{p}_error" in results else "" for p in parts]
        pace = [f"{results['steps']:,}", f"{results['images_per_s']:,.0f}", _duration(results["seconds"])]
        rows.append([run.name, f"{results['params']:,}", *errors, *pace])
    return f'<div class="scroll"><table>{_row(head, "th")}{"".join(_row(r, "td") for r in rows)}</table></div>'


def _row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _facts(run: _Finished, *, several: bool) -> str:
    card, recipe = run.card, run.card.recipe
    machine = card.results.get("machine", {})
    images = ", ".join(f"{n:,} {_PARTS[part]}" for part, n in card.source["images"].items())
    shown = {
        "recipe": recipe.name,
        "data": f"{card.source['name']}: {images} images, {len(card.class_names)} classes",
        "input": f"{card.preprocess.channels} x {card.preprocess.size[0]} x {card.preprocess.size[1]}; "
        f"{card.preprocess.obtained}",
        "augmentation": ", ".join(map(_part, recipe.augment)) or "none",
        "optimizer": _part(recipe.optim),
        "schedule": f"{_part(recipe.schedule)}; {_part(recipe.warmup) if recipe.warmup else 'no warm-up'}",
        "batch size": f"{recipe.batch_size}",
        "seed": f"{recipe.seed}",
        "weights kept": recipe.evaluation.keep if several else _kept(run),
        "placement": "; ".join(f"{k} {v}" for k, v in card.placement.items() if k != "reasons"),
        "machine": f"{machine.get('cpu', '')}, {machine.get('cpus', '?')} processors",
        "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
    }
    if card.source["left_out"]:
        shown["left out"] = "; ".join(card.source["left_out"])
    return (
        f'<div class="scroll"><table class="facts">{"".join(_row(item, "td") for item in shown.items())}</table></div>'
    )


def _part(part: object) -> str:
    """A part of a recipe as it is written in code, its numbers to four digits."""
    return re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.4g}", str(part))


def _kept(run: _Finished) -> str:
    results = run.card.results
    if results["kept_step"] == results["steps"]:
        return f"of the last step, {results['steps']:,}"
    return f"of step {results['kept_step']:,}, where the validation error was lowest"


def _comparison(runs: Sequence[_Finished]) -> list[tuple[str, str]]:
    figure, axes = _canvas(2, 4.2)
    for axis, part in zip(axes, ("train", "test"), strict=True):
        ends = []
        for run, colour, width in zip(runs, _paired_colours(runs), _paired_widths(runs), strict=True):
            steps, errors = run.curves[f"{part}_error"]
            epochs = [s / run.steps_per_epoch for s in steps]
            axis.plot(epochs, [100 * e for e in errors], color=colour, linewidth=width)
            ends.append((100 * errors[-1], run.name, colour, epochs[-1]))
        _label_ends(axis, ends)
        axis.set(xlabel="epoch", ylabel=f"{_PARTS[part]} error (%)", ylim=(0, 100))
        axis.set_title(f"{_PARTS[part].capitalize()} error", loc="left", color=_INK)
    caption = "Error after each epoch, measured in evaluation mode on all images. Thick lines: the deeper nets."
    return [(_svg(figure), caption)]


def _single(run: _Finished) -> list[tuple[str, str]]:
    measured = [p for p in _PARTS if f"{p}_error" in run.curves]
    panels = [panel for panel, there in (("error", measured), ("loss", "batch_loss" in run.curves)) if there]
    if not panels:
        return []
    figure, axes = _canvas(len(panels), 3.6)
    for axis, panel in zip(axes, panels, strict=True):
        if panel == "error":
            ends = []
            for part, colour in zip(measured, _COLOURS, strict=False):
                steps, errors = run.curves[f"{part}_error"]
                epochs = [s / run.steps_per_epoch for s in steps]
                axis.plot(epochs, [100 * e for e in errors], color=colour, linewidth=2, marker="o", markersize=3)
                ends.append((100 * errors[-1], _PARTS[part], colour, epochs[-1]))
            _label_ends(axis, ends)
            axis.set(xlabel="epoch", ylabel="error (%)")
            axis.set_ylim(bottom=0)
            axis.set_title("Error", loc="left", color=_INK)
        else:
            steps, losses = run.curves["batch_loss"]
            axis.plot([s / run.steps_per_epoch for s in steps], losses, color=_COLOURS[1], linewidth=1.4)
            axis.set(xlabel="epoch", ylabel="cross entropy (nats)")
            axis.set_ylim(bottom=0)
            axis.set_title("Training loss of the batches", loc="left", color=_INK)
    return [(_svg(figure), f"Mean loss of {run.card.recipe.log_every} batches a point; errors in evaluation mode.")]


def _paired_colours(runs: Sequence[_Finished]) -> list[str]:
    """One colour a kind of net, so that the eye pairs depths: names differ in their last digits."""
    kinds = list(dict.fromkeys(run.name.rstrip("0123456789") for run in runs))
    return [_COLOURS[kinds.index(run.name.rstrip("0123456789")) % len(_COLOURS)] for run in runs]


def _paired_widths(runs: Sequence[_Finished]) -> list[float]:
    deepest = max(_depth(run) for run in runs)
    return [2.8 if _depth(run) == deepest else 1.3 for run in runs]


def _depth(run: _Finished) -> int:
    digits = run.name[len(run.name.rstrip("0123456789")) :]
    return int(digits or 0)


def _canvas(columns: int, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # half a second: only reports need it

    figure = Figure(figsize=(10.5 if columns > 1 else 6.5, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.set_facecolor("none")
        axis.spines[["top", "right"]].set_visible(False)
        for spine in axis.spines.values():
            spine.set_color(_INK)
        axis.tick_params(colors=_INK)
        axis.grid(axis="y", color=_INK, alpha=0.12)
        axis.xaxis.label.set_color(_INK)
        axis.yaxis.label.set_color(_INK)
    return figure, axes


def _label_ends(axis: Any, ends: Sequence[tuple[float, str, str, float]]) -> None:
    """Names at the lines' ends, moved apart where lines meet."""
    highest = max(max(value for value, *_ in ends), axis.get_ylim()[1])
    gap, lowest_free = highest * 0.055, float("-inf")
    for value, name, colour, at in sorted(ends):
        height = max(value, lowest_free)
        lowest_free = height + gap
        axis.annotate(
            f"{name}  {value:.1f}", (at, height), xytext=(6, 0), textcoords="offset points", va="center", color=colour
        )
    axis.margins(x=0.02)


def _svg(figure: Any) -> str:
    import matplotlib

    figure.patch.set_alpha(0)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plusx", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :].replace(_INK, "currentColor")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
