"""`plusx export`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, per_cent, print_json
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.deploy.export.export import Exported

DYNAMIC = "dynamic"


def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="onnx, openvino or torch, which are graphs; or torchvision, timm or safetensors, which are weights.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="New file; by default named as the run, in the current folder.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits (onnx, openvino), calibrated on the training images.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option(metavar="POINTS", help="Percentage points of accuracy that --int8 may cost.")
    ] = 0.5,
    batch: Annotated[str, typer.Option(metavar="N", help="Images of a call; dynamic takes any number.")] = DYNAMIC,
    pixels: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="TYPE",
            help="uint8: batch x height x width x channels; float: from 0 to 1, batch x channels x height x width.",
        ),
    ] = "uint8",
    compiled: Annotated[
        bool, typer.Option("--compile", help="With --to torch: code for this processor, by a C++ compiler.")
    ] = False,
    data_dir: RunData = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a run as a file for other software. A short script comes with it, which uses the file without plusx.

    Scaling and normalisation are in the graph; class names, preprocessing and the run's card are in the file. Before
    the file is put in place, it is compared with the net on the run's validation images; if it computes something else,
    or --int8 costs too much accuracy, nothing is written and the exit code is 1.

    \b
    Examples:
      plusx export runs/photos-resnet18-seed0 --to onnx
      plusx export runs/photos-resnet18-seed0 --to openvino --int8 --out photos.xml
    """
    how: dict[str, Any] = {"out": out, "int8": int8, "max_drop": max_drop, "batch": _number(batch), "input": pixels}
    how |= {"compile": compiled, "data_dir": data_dir, "trust_code": trust_code}
    try:
        with watching(f"exporting {run.name}", quiet=quiet, unit="images") as bar:
            exported = plusx.export(run, to, progress=bar, **how)
    except plusx.ExportRefusedError as refused:
        print(f"plusx: nothing is written: {' '.join(str(refused).split())}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json(_as_json(exported))
        return
    found, file = exported.verified, exported.file
    print(f"{file}: {exported.size_bytes / 2**20:,.1f} MB, {exported.metadata.precision}, {_takes(exported)}")
    print(
        filled(
            f"compared on {found.images:,} images of {found.source} by {' and '.join(found.runtimes)}: logits differ "
            f"by {found.largest_difference:.1e} at most, the largest is {found.largest_logit:.3g}"
        )
    )
    if found.accuracy is not None and found.exported_accuracy is not None:
        print(f"accuracy {per_cent(found.accuracy)} in PyTorch, {per_cent(found.exported_accuracy)} exported")
    for note in exported.notes:
        print(filled(f"note: {note}", 2))
    if exported.script:
        print(f"next: python {exported.script} IMAGE")


def _takes(exported: "Exported") -> str:
    """What the file's graph takes."""
    metadata = exported.metadata
    if metadata.input is None:
        return "weights" if exported.to == "safetensors" else f"weights that {exported.to}'s net loads"
    height, width = metadata.preprocess.size
    shape = [metadata.preprocess.channels, height, width]
    shape = shape[1:] + shape[:1] if metadata.input == "uint8" else shape
    many = "any number" if metadata.batch is None else metadata.batch
    return f"takes {metadata.input}, {' x '.join(map(str, [many, *shape]))}"


def _number(batch: str) -> int | None:
    """The value of --batch."""
    if batch == DYNAMIC:
        return None
    try:
        return int(batch)
    except ValueError:
        raise ValueError(f"--batch is {batch!r}; write a number of images, or {DYNAMIC}") from None


def _as_json(exported: "Exported") -> dict[str, Any]:
    found, metadata = exported.verified, exported.metadata
    return {
        "run": str(exported.run),
        "to": exported.to,
        "file": str(exported.file),
        "files": [str(file) for file in exported.files],
        "script": str(exported.script) if exported.script else None,
        "size_bytes": exported.size_bytes,
        "precision": metadata.precision,
        "input": metadata.input,
        "batch": metadata.batch,
        "images": found.images,
        "data": found.source,
        "largest_difference": found.largest_difference,
        "largest_logit": found.largest_logit,
        "accuracy": found.accuracy,
        "exported_accuracy": found.exported_accuracy,
        "runtimes": list(found.runtimes),
        "notes": list(exported.notes),
    }
