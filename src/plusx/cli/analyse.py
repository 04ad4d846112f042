"""`plusx analyse`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, print_json, print_table
from plusx.progress import watching

EXPLAINING = "Explaining images"


def analyse(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    question: Annotated[
        str,
        typer.Argument(
            help="responses, gradients, lesions, shuffling, paths, shortcuts, filters or features; or explain, about "
            "images."
        ),
    ],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="For explain: image files, folders, quoted patterns and tables, as for predict."
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="Class to explain; by default the likeliest.", rich_help_panel=EXPLAINING
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="cam (Grad-CAM, the default), blocks (what each block contributes), occlusion, or gradients "
            "(integrated gradients).",
            rich_help_panel=EXPLAINING,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the page, figures and arrays; by default one in the run's figures/.",
            rich_help_panel=EXPLAINING,
        ),
    ] = None,
    data_dir: RunData = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Answer a question about a trained net.

    The questions come from the papers, such as how strongly each layer responds and what is lost without a block. The
    answer is a figure; it is written with its numbers to the run's folder figures/. `explain` shows which places of
    images, or which blocks, speak for a class.

    \b
    Examples:
      plusx analyse runs/cifar10-resnet56-seed0 lesions
      plusx analyse runs/photos-resnet18-seed0 explain cat.jpg --class dog --out why
    """
    if question == "explain":
        if data_dir is not None:
            raise ValueError("--data-dir is of no use to explain, which reads the images that you name")
        chosen = {"method": method or "cam", "target": class_name, "out": out, "trust_code": trust_code}
        _explain(run, images or [], chosen, quiet=quiet, as_json=as_json)
        return
    if images or class_name is not None or method is not None or out is not None:
        raise ValueError(
            f"{question!r} takes no images, --class, --method or --out; plusx analyse RUN explain IMAGE... does"
        )
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


def _explain(run: Path, images: list[str], chosen: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    if not images:
        raise ValueError("name the images to explain: plusx analyse RUN explain IMAGE...")
    with watching("explaining", quiet=quiet, unit="images") as bar:
        explained = plusx.explain_files(run, images, progress=bar, **chosen)
    unread = [f"{file}: {reason}" for file, reason in explained.unread]
    if as_json:
        print_json(explained.to_dict())
    else:
        print(filled(explained.asks))
        for each in explained.explanations:
            print(f"{each.file}: {each.in_words}")
            if each.blocks:
                print_table(*each.numbers)
        for note in explained.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"report: {explained.out / 'explain.html'}")
    if unread:
        raise ValueError("; ".join(unread))
