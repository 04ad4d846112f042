"""report.html: what runs were, and how they went, as one page that needs no network."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plusx.data.images import listed
from plusx.report.figure import panels, svg
from plusx.report.page import facts, heading, illustration, page, paragraph, table
from plusx.report.palette import SOFT, SPLITS, net_colours, net_widths
from plusx.runs.card import Card
from plusx.runs.files import replace_file
from plusx.runs.metrics import name_of, read_metrics
from plusx.runs.store import read_card

Curves = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""Net to train and test, to epochs and errors."""
SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}
"""What a page calls the images of each split."""


@dataclass(frozen=True)
class ReportedRun:
    """A run as the report sees it."""

    path: Path
    card: Card
    curves: Mapping[str, tuple[list[int], list[float]]]
    """Name of a measurement to steps and values."""

    @property
    def name(self) -> str:
        return self.card.recipe.net.name

    @property
    def steps_per_epoch(self) -> float:
        return self.card.source["images"]["train"] / self.card.recipe.batch_size

    def epochs(self, steps: Sequence[int]) -> list[float]:
        """Passes over the training images at those steps."""
        return [step / self.steps_per_epoch for step in steps]


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str,
    findings: Sequence[str] = (),
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> None:
    """One page about one run, or about several that are compared.

    Args:
        runs: Run directories.
        out: The page.
        title: Its heading.
        findings: Sentences under the heading: what the numbers say.
        before: Pieces of HTML between the findings and the results.
        after: Pieces of HTML between the curves and what was run.
    """
    finished = [read_run(run) for run in runs]
    several = len(finished) > 1
    body = [
        *map(paragraph, findings),
        *before,
        _compared(finished, out.parent) if several else _results(finished[0]),
        *(illustration(*figure) for figure in (_comparison(finished) if several else curves_of(finished[0]))),
        *after,
        heading("What was run"),
        what_was_run(finished[0], several=several),
    ]
    replace_file(out, page(title, body))


def comparison_curves(runs: Sequence[Path]) -> Curves:
    """What the figure of a report of several runs shows, in JSON types.

    Args:
        runs: Run directories, each with training and test errors.
    """
    finished = [read_run(run) for run in runs]
    return {
        name: {
            split: {
                "epochs": run.epochs(run.curves[name_of(split, "error")][0]),
                "errors": run.curves[name_of(split, "error")][1],
            }
            for split in ("train", "test")
        }
        for name, run in zip(_names(finished), finished, strict=True)
    }


def comparison_svg(curves: Curves, seeds: Iterable[int]) -> str:
    """That figure, as SVG in the page's colours.

    Args:
        curves: What `comparison_curves` returns.
        seeds: The runs'.
    """
    nets, known = list(curves), sorted(set(seeds))
    of = f"seed{'s' if known[1:] else ''} {', '.join(map(str, known))}"
    drawn = panels(*(f"{SPLIT_WORDS[split].capitalize()} error, {of}" for split in ("train", "test")))
    for panel, split in zip(drawn, ("train", "test"), strict=True):
        for net, colour, width in zip(nets, net_colours(nets), net_widths(nets), strict=True):
            curve = curves[net][split]
            panel.line(curve["epochs"], [100 * e for e in curve["errors"]], colour, name=net, width=width)
        panel.axis.set(xlabel="epoch", ylabel=f"{SPLIT_WORDS[split]} error (%)", ylim=(0, 100))
    return svg(drawn)


def read_run(run: Path) -> ReportedRun:
    """A run, finished or not, with the curves of what it measured."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for record in read_metrics(run):
        steps, values = curves.setdefault(record["name"], ([], []))
        steps.append(record["step"])
        values.append(record["value"])
    return ReportedRun(run, read_card(run), curves)


def _results(run: ReportedRun) -> str:
    """A row for each split that was measured."""
    results, images = run.card.results, run.card.source["images"]
    rows = [
        [f"{SPLIT_WORDS[split].capitalize()} images", f"{images[split]:,}", *_error_and_accuracy(results, split)]
        for split in SPLIT_WORDS
        if name_of(split, "error") in results
    ]
    return table(["measured on", "images", "error", "accuracy"], rows)


def _compared(runs: Sequence[ReportedRun], folder: Path) -> str:
    """A row for each run, which leads to the run's own report."""
    measured = [split for split in SPLIT_WORDS if any(name_of(split, "error") in r.card.results for r in runs)]
    head = [
        "net",
        "parameters",
        *(f"{SPLIT_WORDS[split]} {what}" for split in measured for what in ("error", "accuracy")),
    ]
    rows, links = [], {}
    for name, run in zip(_names(runs), runs, strict=True):
        results = run.card.results
        cells = [cell for split in measured for cell in _error_and_accuracy(results, split)]
        rows.append([name, f"{results['params']:,}", *cells, _duration(results["seconds"])])
        if (run.path / "report.html").is_file():
            links[name] = Path(os.path.relpath(run.path / "report.html", folder)).as_posix()
    return table([*head, "training time"], rows, links=links)


def _names(runs: Sequence[ReportedRun]) -> list[str]:
    """The runs' nets, or their folders where two have the same net."""
    nets = [run.name for run in runs]
    return nets if len(set(nets)) == len(nets) else [run.path.name for run in runs]


def _error_and_accuracy(results: Mapping[str, float], split: str) -> tuple[str, str]:
    if name_of(split, "error") not in results:
        return "", ""
    error = results[name_of(split, "error")]
    return f"{100 * error:.2f} %", f"{100 * (1 - error):.2f} %"


def what_was_run(run: ReportedRun, *, several: bool) -> str:
    """Net, data, recipe and machine as a list; what each of several runs has of its own is left out."""
    return facts(in_words(run, several=several).items())


def in_words(run: ReportedRun, *, several: bool) -> dict[str, str]:
    """Net, data, recipe and machine, each under its name; what each of several runs has of its own is left out.

    Args:
        run: Finished, unless `several` is set.
        several: Whether it is one of several.
    """
    card, recipe, results = run.card, run.card.recipe, run.card.results
    machine = results.get("machine", {})
    images = ", ".join(f"{n:,} {SPLIT_WORDS[split]}" for split, n in card.source["images"].items())
    may_stop = recipe.max_time is not None or recipe.evaluation.patience is not None
    stopped = f"; stopped {results['stopped']}" if may_stop and "stopped" in results else ""
    pieces = f" in {recipe.accumulate} pieces" if recipe.accumulate > 1 else ""
    steps = f"{results['steps']:,} steps of {recipe.batch_size} images{pieces}"
    shown = {
        "recipe": recipe.name,
        "data": f"{card.source['name']}: {images} images, {len(card.class_names)} classes",
        "input": f"{card.preprocess.channels} x {card.preprocess.size[0]} x {card.preprocess.size[1]}; "
        f"{card.preprocess.obtained}",
        "augmentation": "; ".join(item.in_words for item in recipe.augment) or "none",
        "loss": recipe.loss.in_words,
        "optimizer": recipe.optim.in_words,
        "schedule": f"{recipe.schedule.in_words}; {recipe.warmup.in_words if recipe.warmup else 'no warm-up'}",
        "length": f"{steps}{stopped}"
        if several
        else f"{steps} in {_duration(results['seconds'])}, {results['images_per_s']:,.0f} images/s{stopped}",
        "seed": f"{recipe.seed}",
        "weights kept": _kept(run, several=several),
        "placement": _placed(card.placement),
        "machine": f"{machine.get('cpu', '')}, {machine.get('cpus', '?')} processors",
        "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
    }
    if recipe.balance != "none":
        shown["classes balanced"] = "by the loss" if recipe.balance == "loss" else "by what is drawn"
    if not machine:  # as while it is trained
        del shown["machine"]
    if card.calibration:
        shown["calibration"] = card.calibration.in_words
    if recipe.penalty.l1:
        shown["penalty"] = recipe.penalty.in_words
    if recipe.averaging:
        shown["averaging"] = recipe.averaging.in_words
    if recipe.progressive:
        shown["smaller images"] = recipe.progressive.in_words
    if recipe.net.freeze:
        shown["frozen"] = recipe.net.frozen_in_words
    if not several:
        shown = {"net": f"{run.name}, {results['params']:,} parameters", **shown}
    if card.source["left_out"]:
        shown["left out"] = f"{listed(card.source['left_out'])}; images.csv has all"
    return shown


def _placed(placement: Mapping[str, object]) -> str:
    """Where it ran: choices by name, and of those that are yes or no the ones that are yes."""
    chosen = {key: value for key, value in placement.items() if key != "reasons" and value is not False}
    return ", ".join(key if value is True else f"{key} {value}" for key, value in chosen.items()).replace("_", " ")


def _kept(run: ReportedRun, *, several: bool) -> str:
    results = run.card.results
    if several:
        last = run.card.recipe.evaluation.keep == "last"
        return "those of the last step" if last else "those of the lowest validation error"
    if results["kept_step"] == results["steps"]:
        return f"those of the last step, {results['steps']:,}"
    return f"those of step {results['kept_step']:,}, where the validation error was lowest"


def _comparison(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    caption = (
        "Error after each epoch, measured in evaluation mode on all images. The thicker a line, the deeper its net."
    )
    curves = comparison_curves([run.path for run in runs])
    return [(comparison_svg(curves, [run.card.recipe.seed for run in runs]), caption)]


def curves_of(run: ReportedRun) -> list[tuple[str, str]]:
    """The figures of one run, each with what it shows."""
    measured = [split for split in SPLIT_WORDS if name_of(split, "error") in run.curves]
    drawn, notes, kept = [], ["Errors are measured in evaluation mode."], run.card.results["kept_step"]
    if measured:
        [panel] = panels("Error")
        for split in measured:
            steps, errors = run.curves[name_of(split, "error")]
            percent = [100 * e for e in errors]
            panel.line(run.epochs(steps), percent, SPLITS[split], name=SPLIT_WORDS[split], width=2, marker="o")
        panel.axis.set(xlabel="epoch", ylabel="error (%)")
        panel.axis.set_ylim(bottom=0)
        if kept < run.card.results["steps"]:
            panel.axis.axvline(run.epochs([kept])[0], color=SOFT, linewidth=1, linestyle=":")
            notes.append("The dotted line is where the kept weights were.")
        drawn.append(panel)
    if "batch_loss" in run.curves:
        [panel] = panels("Training loss of the batches")
        steps, losses = run.curves["batch_loss"]
        panel.line(run.epochs(steps), losses, SPLITS["train"], width=1.4)
        panel.axis.set(xlabel="epoch", ylabel="cross entropy (nats)")
        panel.axis.set_ylim(bottom=0)
        drawn.append(panel)
        notes.append(f"Batches averaged for each point of the loss: {run.card.recipe.log_every}.")
    return [(svg(drawn), " ".join(notes))] if drawn else []


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
