"""`plusx analyse`."""

from pathlib import Path
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, print_json, print_table
from plusx.progress import watching


def analyse(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    question: Annotated[
        str,
        typer.Argument(help="responses, gradients, lesions, shuffling, paths, shortcuts, filters or features."),
    ],
    data_dir: RunData = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Answer a question about a trained net.

    The questions come from the papers, such as how strongly each layer responds and what is lost without a block. The
    answer is a figure; it is written with its numbers to the run's folder figures/.

    \b
    Example:
      plusx analyse runs/cifar10-resnet56-seed0 lesions
    """
    with watching(question, quiet=quiet, unit="images") as bar:
        answer = plusx.analyse(run, question, data_dir=data_dir, trust_code=trust_code, progress=bar)
    if as_json:
        series = {name: [m._asdict() for m in each] for name, each in answer.series.items()}
        about = {"run": str(run), "question": question, "images": answer.images, "figure": str(answer.figure)}
        print_json({**about, "series": series})
        return
    print(filled(answer.asks))
    for table in answer.tables():
        print(f"\n{table.title}")
        print_table(table.head, table.rows)
    print(f"figure: {answer.figure}")
