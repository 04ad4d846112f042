"""`plusx calibrate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.options import Device, Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, per_cent, print_json
from plusx.progress import watching


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of class folders to fit on; by default, the run's own validation images."),
    ] = None,
    reject_at: Annotated[
        float | None,
        typer.Option(
            metavar="PER_CENT",
            help="Answer `unknown` where the net is least sure, so that this share of the images keeps its answer. "
            "Without it, every image is answered.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="val or test; by default the validation images.", metavar="SPLIT")
    ] = None,
    data_dir: RunData = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Calibrate the probabilities of a run. With --reject-at, the run also answers `unknown` where it is least sure.

    One temperature is fitted on images that the net was not trained on, so that the net is right as often as it is
    sure; it changes no prediction. Training does this by itself where the data has validation images. The result is
    kept in the run's card.json.

    \b
    Examples:
      plusx calibrate runs/photos-resnet18-seed0 --reject-at 95
      plusx calibrate runs/old-run more-photos
    """
    with watching("calibrating", quiet=quiet, unit="images") as bar:
        how: dict[str, Any] = {"data_dir": data_dir, "device": device, "trust_code": trust_code}
        done = plusx.calibrate(run, data, reject_at=reject_at, split=split, progress=bar, **how)
    found, before, after = done.calibration, done.before, done.after
    if as_json:
        print_json(
            {
                "run": str(run),
                **asdict(found),
                "loss": after.loss,
                "calibration_error": after.calibration_error,
                "uncalibrated": asdict(before),
                "notes": list(done.notes),
            }
        )
        return
    print(filled(found.in_words))
    print(f"cross entropy (NLL) {before.loss:.4f} -> {after.loss:.4f} nats")
    print(
        f"calibration error (ECE, 15 bins of equal width) {per_cent(before.calibration_error)} -> "
        f"{per_cent(after.calibration_error)}"
    )
    for note in done.notes:
        print(f"note: {note}")
