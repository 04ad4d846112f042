"""`plusx evaluate`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Device, Json, Quiet, RunData, TrustCode, parse_sides
from plusx.cli.tables import filled, per_cent, per_cent_of, print_json
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.engine.evaluation import Evaluated


class Augmented(StrEnum):
    """What `--tta`, test-time augmentation, takes."""

    FLIP = "flip"


def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [DATA]",
            help="Run directories, optionally followed by a folder of class folders or a table to use instead of the "
            "runs' own images.",
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test; by default test, or val if there is no test split.", metavar="SPLIT"),
    ] = None,
    crops: Annotated[int, typer.Option(help="1, or 10: the four corners and the centre, each also mirrored.")] = 1,
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="S,...", help="Lengths of the image's shorter side in pixels; predictions are averaged over them."
        ),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Use the whole image at each scale instead of crops.")] = False,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average the probabilities of all runs.")] = False,
    tta: Annotated[
        Augmented | None, typer.Option(help="flip: average the predictions for the image and its mirror image.")
    ] = None,
    outsiders: Annotated[
        Path | None,
        typer.Option(help="Folder of images of none of the classes: how well the net tells them from the others."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show in the report which places of the worst mistakes speak for the wrong class."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for predictions.csv, evaluation.json and evaluation.html; by default the run "
            "directory, or a new folder under runs/ for an ensemble."
        ),
    ] = None,
    data_dir: RunData = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate trained nets. Images that a net was trained on are left out. The report shows the mistakes.

    \b
    Examples:
      plusx evaluate runs/digits-resnet20-seed0
      plusx evaluate runs/a runs/b photos --ensemble --crops 10 --scales 256,384
    """
    paths, data = runs_and_data(runs)
    asked = (crops, scales, dense, tta) != (1, None, False, None)
    views = plusx.Views(crops, parse_sides(scales), dense, tta is not None) if asked else None
    if out is not None and len(paths) > 1 and not ensemble:
        raise ValueError("--out is one folder; give one run, or --ensemble")
    measured = []
    with watching("evaluating", quiet=quiet, unit="images") as bar:
        for group in [paths] if ensemble else [[path] for path in paths]:
            where: dict[str, Any] = {"outsiders": outsiders, "out": out, "data_dir": data_dir, "device": device}
            where |= {"trust_code": trust_code, "explain": explain}
            measured.append(plusx.evaluate(group, data, split=split, views=views, progress=bar, **where))
    if as_json:
        results = [_as_json(each) for each in measured]
        print_json(results[0] if len(results) == 1 else {"runs": results})
        return
    for each in measured:
        s = each.score
        who = f"{' + '.join(run.name for run in each.runs)}, " if len(paths) > 1 else ""
        top5 = "" if s.top5_error is None else f", top-5 error {per_cent(s.top5_error)}"
        print(f"{who}{each.split}: error {per_cent(s.error)} on {s.images:,} images{top5}")
        for line in _reliability(each):
            print(filled(line, 2))
        for note in each.notes:
            print(f"note: {note}")
        if each.out is not None:
            print(f"report: {each.out / 'evaluation.html'}")
    if out is not None and measured[0].out is None:
        raise ValueError(measured[0].notes[-1])


def _reliability(measured: "Evaluated") -> Iterator[str]:
    """What the probabilities are worth, a line each."""
    found, s = measured.reliability, measured.score
    raw, after = found.uncalibrated, " after calibration" if found.uncalibrated else ""
    nats = f"{raw.loss:.4f} nats before, {s.loss:.4f}{after}" if raw else f"{s.loss:.4f} nats"
    gap = f"{per_cent(raw.calibration_error)} before, " if raw else ""
    yield f"cross entropy (NLL): {nats}"
    yield f"calibration error (ECE, 15 bins of equal width): {gap}{per_cent(s.calibration_error)}{after}"
    if found.calibration is not None:
        yield f"calibration: {found.calibration.in_words}"
    elif len(measured.runs) == 1:
        yield f"calibration: none; plusx calibrate {measured.runs[0]}"
    if found.answered is not None:
        wrong = "" if found.answered.error is None else f", error {per_cent(found.answered.error)} on these"
        yield f"answered: {per_cent_of(found.answered.images, measured.score.images)}{wrong}; the others are unknown"
    if (others := found.outsiders) is not None:
        unknown = "" if others.unknown is None else f", unknown: {per_cent_of(others.unknown, others.images)}"
        yield f"outsiders: {others.images:,} images, AUROC {others.auroc:.4f}{unknown}"


def _as_json(measured: "Evaluated") -> dict[str, Any]:
    split, s = measured.split if measured.split in ("train", "val") else "test", measured.score
    return {
        "run": str(measured.runs[0]) if len(measured.runs) == 1 else [str(run) for run in measured.runs],
        "data": measured.split,
        "images": s.images,
        f"{split}_error": s.error,
        f"{split}_accuracy": 1 - s.error,
        **({} if s.top5_error is None else {f"{split}_top5_error": s.top5_error}),
        f"{split}_loss": s.loss,
        "calibration_error": s.calibration_error,
        "balanced_accuracy": s.balanced_accuracy,
        **asdict(measured.reliability),
        "notes": list(measured.notes),
        "report": str(measured.out / "evaluation.html") if measured.out else None,
    }


def runs_and_data(arguments: Sequence[str]) -> tuple[list[Path], str | None]:
    """The run directories that were named, and the data to measure them on: the last argument, unless it is a run."""
    *runs, last = arguments
    if not runs or (Path(last) / "card.json").is_file():
        return [Path(run) for run in arguments], None
    return [Path(run) for run in runs], last
