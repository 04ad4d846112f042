"""`plusx demo`."""

from pathlib import Path
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.signals import stoppable
from plusx.cli.tables import filled, per_cent, print_json, print_table
from plusx.progress import watching


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the four runs and report.html, or the folder of a demo that was stopped."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for all four nets.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show why deep nets need shortcuts. It trains four nets on real digits in about a minute: the deeper plain net
    trains worse than the shallower one, and the deeper residual net does not.

    \b
    Example:
      plusx demo
    """
    with stoppable() as should_stop, watching("demo", quiet=quiet, stopping=should_stop) as bar:
        shown = plusx.demo(out, seed=seed, progress=bar, should_stop=should_stop)
    results = [run.card.results for run in shown.runs]
    if as_json:
        runs = [{"run": str(run.run), **run.card.results} for run in shown.runs]
        seconds = sum(r["seconds"] for r in results)
        print_json({"holds": shown.holds, "report": str(shown.report), "seconds": seconds, "runs": runs})
        return
    rows = [
        [r["net"], f"{r['params']:,}", per_cent(r["train_error"]), per_cent(r["test_error"]), f"{r['seconds']:.1f} s"]
        for r in results
    ]
    print_table(["net", "parameters", "training error", "test error", "time"], rows)
    for sentence in shown.findings:
        print(filled(sentence))
    print(f"\nCurves: {shown.report}")
