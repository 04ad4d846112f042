"""`plusx predict`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Device, Json, Quiet
from plusx.cli.tables import print_json
from plusx.progress import watching

FEW = 20
"""Up to this many images, predicting is over before a bar would be of use."""


def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, fp32, bf16 or int8. int8 needs OpenVINO and is calibrated on the run's training images."
        ),
    ] = "auto",
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict the classes of images. Files that cannot be read are listed at the end; all others are predicted.

    \b
    Example:
      plusx predict runs/photos-resnet18-seed0 cat.jpg dog.jpg
    """
    with watching("loading", quiet=quiet):
        predictor = plusx.Predictor(run, precision=precision, device=device, images=len(images))
    predictions, faults = [], []
    printing = sys.stdout.isatty() and not as_json  # the predictions themselves show the progress
    with watching("predicting", quiet=quiet or printing or len(images) <= FEW, unit="images") as bar:
        each = zip(images, predictor.predict_many(images, top_k=top), strict=True)
        for number, (image, prediction) in enumerate(each, start=1):
            if isinstance(prediction, ValueError):
                faults.append((image, str(prediction)))
            elif as_json:
                predictions.append(asdict(prediction))
            else:
                shares = zip(prediction.classes, prediction.probabilities, strict=True)
                print(f"{prediction.file}: {', '.join(f'{name} {100 * p:.1f} %' for name, p in shares)}")
            bar(number, len(images))
    if as_json:
        bad = [{"file": image, "error": fault} for image, fault in faults]
        print_json({"run": str(run), "note": predictor.note, "files": predictions + bad})
    elif predictor.note:
        print(f"note: {predictor.note}", file=sys.stderr)
    if faults:
        raise ValueError("; ".join(fault for _, fault in faults))
