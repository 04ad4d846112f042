"""report.html: what runs were, and how they went, as one page that needs no network."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plusx.runs.card import Card
from plusx.runs.figure import COLOURS, canvas, label_ends, svg
from plusx.runs.page import facts, illustration, page, paragraph, table
from plusx.runs.store import read_card, read_metrics, replace_file

_PARTS = {"train": "training", "val": "validation", "test": "test"}


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
        *map(paragraph, findings),
        _results_table(finished),
        *(illustration(*figure) for figure in figures),
        "<h2>What was run</h2>",
        _facts(finished[0], several=len(finished) > 1),
    ]
    replace_file(out, page(title, body))


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
    return table(head, rows)


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
    return facts(shown.items())


def _part(part: object) -> str:
    """A part of a recipe as it is written in code, its numbers to four digits."""
    return re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.4g}", str(part))


def _kept(run: _Finished) -> str:
    results = run.card.results
    if results["kept_step"] == results["steps"]:
        return f"of the last step, {results['steps']:,}"
    return f"of step {results['kept_step']:,}, where the validation error was lowest"


def _comparison(runs: Sequence[_Finished]) -> list[tuple[str, str]]:
    figure, axes = canvas(2, 4.2)
    for axis, part in zip(axes, ("train", "test"), strict=True):
        ends = []
        for run, colour, width in zip(runs, _paired_colours(runs), _paired_widths(runs), strict=True):
            steps, errors = run.curves[f"{part}_error"]
            epochs = [s / run.steps_per_epoch for s in steps]
            axis.plot(epochs, [100 * e for e in errors], color=colour, linewidth=width)
            ends.append((100 * errors[-1], run.name, colour, epochs[-1]))
        label_ends(axis, ends)
        axis.set(xlabel="epoch", ylabel=f"{_PARTS[part]} error (%)", ylim=(0, 100))
        axis.set_title(f"{_PARTS[part].capitalize()} error", loc="left")
    caption = "Error after each epoch, measured in evaluation mode on all images. Thick lines: the deeper nets."
    return [(svg(figure), caption)]


def _single(run: _Finished) -> list[tuple[str, str]]:
    measured = [p for p in _PARTS if f"{p}_error" in run.curves]
    panels = [panel for panel, there in (("error", measured), ("loss", "batch_loss" in run.curves)) if there]
    if not panels:
        return []
    figure, axes = canvas(len(panels), 3.6)
    for axis, panel in zip(axes, panels, strict=True):
        if panel == "error":
            ends = []
            for part, colour in zip(measured, COLOURS, strict=False):
                steps, errors = run.curves[f"{part}_error"]
                epochs = [s / run.steps_per_epoch for s in steps]
                axis.plot(epochs, [100 * e for e in errors], color=colour, linewidth=2, marker="o", markersize=3)
                ends.append((100 * errors[-1], _PARTS[part], colour, epochs[-1]))
            label_ends(axis, ends)
            axis.set(xlabel="epoch", ylabel="error (%)")
            axis.set_ylim(bottom=0)
            axis.set_title("Error", loc="left")
        else:
            steps, losses = run.curves["batch_loss"]
            axis.plot([s / run.steps_per_epoch for s in steps], losses, color=COLOURS[1], linewidth=1.4)
            axis.set(xlabel="epoch", ylabel="cross entropy (nats)")
            axis.set_ylim(bottom=0)
            axis.set_title("Training loss of the batches", loc="left")
    return [(svg(figure), f"Mean loss of {run.card.recipe.log_every} batches a point; errors in evaluation mode.")]


def _paired_colours(runs: Sequence[_Finished]) -> list[str]:
    """One colour a kind of net, so that the eye pairs depths: names differ in their last digits."""
    kinds = list(dict.fromkeys(run.name.rstrip("0123456789") for run in runs))
    return [COLOURS[kinds.index(run.name.rstrip("0123456789")) % len(COLOURS)] for run in runs]


def _paired_widths(runs: Sequence[_Finished]) -> list[float]:
    deepest = max(_depth(run) for run in runs)
    return [2.8 if _depth(run) == deepest else 1.3 for run in runs]


def _depth(run: _Finished) -> int:
    digits = run.name[len(run.name.rstrip("0123456789")) :]
    return int(digits or 0)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
