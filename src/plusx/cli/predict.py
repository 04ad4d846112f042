"""`plusx predict`."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Device, Json, Quiet, TrustCode
from plusx.cli.tables import print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.data.decode import UndecodableError
    from plusx.deploy.predicted import PredictedFiles
    from plusx.deploy.predictor import Prediction

FEW = 20
"""Up to this many images, predicting is over before a bar would be of use."""
KEPT = 5
"""Classes of each image that predictions.csv has, at least; as many as in that of `plusx evaluate`."""
NAMED = 10
"""Unreadable files that the last sentence names."""


def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Image files, folders, quoted patterns such as 'photos/**/*.jpg', and CSV tables with a column path "
            "and perhaps a column label.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for predictions.csv and report.html, a sheet of the most doubtful images."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, fp32, bf16 or int8. int8 needs OpenVINO and is calibrated on the run's training images."
        ),
    ] = "auto",
    device: Device = "auto",
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict the classes of images. Files that cannot be read are listed at the end; all others are predicted.

    \b
    Examples:
      plusx predict runs/photos-resnet18-seed0 cat.jpg dog.jpg
      plusx predict runs/photos-resnet18-seed0 holiday --out predicted
    """
    lines = not as_json and out is None
    with ExitStack() as screen:
        bar = screen.enter_context(watching("predicting", quiet=quiet, unit="images"))

        def each(result: "Prediction | UndecodableError") -> None:
            if lines and not isinstance(result, ValueError):
                if sys.stdout.isatty():
                    screen.close()  # the predictions themselves show the progress
                shares = zip(result.classes[:top], result.probabilities, strict=False)
                print(f"{result.file}: {', '.join(f'{name} {100 * p:.1f} %' for name, p in shares)}")

        def report(done: int, total: int) -> None:
            if total > FEW and not (lines and sys.stdout.isatty()):
                bar(done, total)

        how: dict[str, Any] = {"precision": precision, "device": device, "each": each, "progress": report}
        predicted = plusx.predict_files(run, sources, out=out, top_k=max(top, KEPT), trust_code=trust_code, **how)
    if as_json:
        print_json(_as_json(predicted, top))
    else:
        _print(predicted)
    faults = [*([predicted.problem] if predicted.problem else []), *_unread(predicted.unread)]
    if faults:
        raise ValueError("; ".join(faults))


def _print(predicted: "PredictedFiles") -> None:
    """What there is to say besides the predictions: on standard output where it is the result."""
    first, *others = predicted.findings
    if predicted.note:
        print(f"note: {predicted.note}", file=sys.stderr)
    if predicted.out is None and not predicted.problem:
        if predicted.labels:
            print(others.pop(0))
        for said in others:
            print(f"note: {said}", file=sys.stderr)
        return
    head, *rows = predicted.table()
    if rows:
        print_table(head, rows)
    print("\n".join([first, *others]))
    if predicted.out:
        print(f"report: {predicted.out / 'report.html'}")


def _unread(unread: Sequence[tuple[str, str]]) -> list[str]:
    more = len(unread) - NAMED
    return [
        *(f"{file}: {reason}" for file, reason in unread[:NAMED]),
        *([f"and {more:,} more, which --json and --out name"] if more > 0 else []),
    ]


def _as_json(predicted: "PredictedFiles", top: int) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    for each in predicted.predictions:
        shown = asdict(each) | {"classes": each.classes[:top], "probabilities": each.probabilities[:top]}
        if each.file in predicted.labels:
            label = predicted.labels[each.file]
            shown |= {"label": label, "right": label == each.classes[0]}
        files.append(shown)
    return {
        "run": str(predicted.run),
        "note": predicted.note,
        "files": files + [{"file": file, "error": reason} for file, reason in predicted.unread],
        "left_out": [{"file": each.path, "reason": each.reason} for each in predicted.left_out],
        "repeated": list(predicted.repeated),
        "notes": list(predicted.notes),
        "counts": predicted.counts,
        **({"labelled": len(predicted.labels), "right": predicted.right} if predicted.labels else {}),
        "report": str(predicted.out / "report.html") if predicted.out else None,
    }
