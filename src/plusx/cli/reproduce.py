"""`plusx reproduce`: run an experiment, or list them."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.signals import stoppable
from plusx.cli.tables import filled, print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.experiments.reproduce import ExperimentStatus


class Budget(StrEnum):
    """What `--budget` takes."""

    QUICK = "quick"
    PAPER = "paper"


def reproduce(
    experiment: Annotated[str | None, typer.Argument(help="Name of an experiment; --list shows all names.")] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List the experiments with their costs and their results so far.")
    ] = False,
    budget: Annotated[
        Budget,
        typer.Option(
            help="quick: the paper's recipe with fewer steps. paper: the full recipe, which takes weeks on a CPU."
        ),
    ] = Budget.QUICK,
    out: Annotated[Path, typer.Option(help="Folder for all experiments, which share trained nets.")] = Path(
        "reproduced"
    ),
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that contains CIFAR; by default PLUSX_DATA or ~/.cache/plusx. For imagenet-table, "
            "the folder of ImageNet."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Reproduce a table or figure of the papers. Our numbers are shown beside the paper's. You can stop an experiment
    at any time; the same command resumes it.

    \b
    Examples:
      plusx reproduce --list
      plusx reproduce worked-example
      plusx reproduce degradation
    """
    if show:
        _print_list(plusx.list_experiments(out, budget.value), as_json)
        return
    if experiment is None:
        raise ValueError("name an experiment; --list shows them")
    typed = shlex.join(["plusx", *sys.argv[1:]])
    with stoppable(typed) as should_stop, watching(experiment, quiet=quiet, stopping=should_stop) as bar:
        done = plusx.reproduce(
            experiment, out=out, budget=budget.value, data_dir=data_dir, progress=bar, should_stop=should_stop
        )
    report = done.folder / "report.html"
    if as_json:
        about = {"experiment": experiment, "budget": budget, "seen": done.result.seen, "seconds": done.seconds}
        print_json({**about, "findings": done.result.findings, "report": str(report)})
        return
    print(filled(done.experiment.claim))
    for table in done.result.tables:
        print(f"\n{filled(table.title)}")
        print_table(table.head, table.rows)
    for sentence in done.result.findings:
        print(filled(sentence))
    print(f"\nFigures: {report}")


def _print_list(statuses: Sequence["ExperimentStatus"], as_json: bool) -> None:
    if as_json:
        print_json({"experiments": [asdict(each) for each in statuses]})
        return
    rows = []
    for each in statuses:
        status = "not run" if each.trained == 0 else f"{each.trained} of {each.trials} trained"
        if each.findings:
            status = "done" if not each.seen else f"claim seen: {each.verdict}"
        cost = "–" if each.minutes is None else f"about {each.minutes or 1:,}"
        if each.seconds is not None:
            cost = f"{each.seconds / 60:,.0f}"
        rows.append([each.name, f"{each.trials}", cost, status])
    print_table(["experiment", "trainings", "minutes", "status"], rows)
    if any(each.seconds is None and each.minutes is not None for each in statuses):
        print(filled("about: as measured on two cores; experiments share trainings."))
    for each in statuses:
        if each.findings:
            print(filled(f"{each.name}: {each.findings[0]}", 2))
