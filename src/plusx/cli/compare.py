"""`plusx compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.evaluate import runs_and_data
from plusx.cli.options import Device, Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, print_json, print_table
from plusx.progress import watching


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN... [DATA]",
            help="Run directories, optionally followed by a folder of class folders to use instead of the images that "
            "the runs held out.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="New folder for report.html, with the images, and disagreements.csv.")
    ] = None,
    data_dir: RunData = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare trained runs. Shown are results, costs, settings that differ, and how many images one run gets right and
    another wrong.

    Images are compared only where both runs held them out; each other run is compared with the first.

    \b
    Examples:
      plusx compare runs/photos-resnet18-seed0 runs/photos-resnet34-seed0
      plusx compare runs/a runs/b --out compared
    """
    paths, data = runs_and_data(runs)
    if data is not None and not Path(data).exists():
        raise ValueError(f"no such run directory or folder: {data}")
    with watching("comparing", quiet=quiet, unit="images") as bar:
        how: dict[str, Any] = {"data_dir": data_dir, "device": device, "trust_code": trust_code}
        found = plusx.compare_runs(paths, data, out=out, progress=bar, **how)
    if as_json:
        print_json(
            {
                "runs": [dict(column.results) for column in found.columns],
                "differing": {key: list(values) for key, values in found.differing.items()},
                "pairs": [_as_json(pair) for pair in found.pairs],
                "notes": list(found.notes),
                "report": str(found.out / "report.html") if found.out else None,
            }
        )
        return
    head, *rows = found.table()
    print_table(head, rows)
    if found.differing:
        print_table(["settings that differ", *head[1:]], [[key, *values] for key, values in found.differing.items()])
    for pair in found.pairs:
        print(filled(pair.in_words(len(found.pairs))))
    for note in found.notes:
        print(filled(f"note: {note}"))
    if found.out:
        print(f"report: {found.out / 'report.html'}")


def _as_json(pair: Any) -> dict[str, Any]:
    only = pair.disagreements
    return {
        "runs": [str(pair.first_run), str(pair.other_run)],
        "images": only.images,
        "only_first": [pair.first.images[place] for place in only.only_first],
        "only_other": [pair.first.images[place] for place in only.only_other],
        "neither": only.neither,
        "p": only.p,
    }
