"""Into results/: the numbers of demos, runs and experiments that have finished."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from docs.build.results import DEMO_NETS, RESULTS, write


def collect_demos(folders: Sequence[Path]) -> None:
    """Take the numbers of finished demos, each of another seed, and the curves of the first.

    Args:
        folders: What `plusx demo --out FOLDER` left.
    """
    from plusx.report.run import comparison_curves
    from plusx.runs.store import read_card

    seeds = []
    for folder in folders:
        results = {net: read_card(folder / net).results for net in DEMO_NETS}
        errors = {net: {key: r[key] for key in ("train_error", "test_error", "seconds")} for net, r in results.items()}
        seeds.append({"seed": results["plain20"]["seed"], "nets": errors})
    card = read_card(folders[0] / "plain20")
    evidence = {"machine": card.results["machine"], "versions": dict(card.versions), "recipe": card.recipe.name}
    curves = comparison_curves([folders[0] / net for net in DEMO_NETS])
    write("degradation-digits", {**evidence, "seeds": seeds, "curves": curves})


def collect_run(run: Path) -> None:
    """Take the numbers of one finished run on CIFAR-10."""
    from plusx.runs.store import read_card

    card = read_card(run)
    evidence = {"recipe": card.recipe.name, "images": card.source["images"], "versions": dict(card.versions)}
    placement = {key: value for key, value in card.placement.items() if key != "reasons"}
    write("cifar10-quick", {**card.results, **evidence, "placement": placement})


def collect_reproduced(folder: Path) -> None:
    """Take the results of every experiment in a folder of `plusx reproduce`.

    Args:
        folder: reproduced/quick, or another budget.
    """
    for file in sorted(folder.glob("*/result.json")):
        shutil.copyfile(file, RESULTS / f"{file.parent.name}.json")
