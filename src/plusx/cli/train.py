"""`plusx train`: a new run, or one that is resumed."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, Settings, parse_settings
from plusx.cli.signals import stoppable
from plusx.cli.tables import per_cent, print_json
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.engine.training import Trained
    from plusx.runs.card import Card


class Speed(StrEnum):
    """What `--speed` takes."""

    SHOW = "show"


def train(
    data: Annotated[str | None, typer.Argument(help="digits, cifar10, cifar100, or a folder of class folders.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a recipe; `plusx recipes` lists them. By default, the recipe for the data."),
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Start from the weights that are published of the net; they are fetched if they are not in the cache.",
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="Start from these weights: a run, a file, torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.",
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--quick", help="Fit the last layer only, in seconds; goes with --pretrained or --from."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="New run directory; by default, a free name under runs/.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed; overrides the recipe's.")] = None,
    settings: Settings = None,
    resume: Annotated[Path | None, typer.Option(help="Resume a run that was stopped or killed.")] = None,
    speed: Annotated[
        Speed | None,
        typer.Option(help="show: time a few steps of each way to run the net, print the times and use the fastest."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that contains CIFAR or that it is downloaded to; by default PLUSX_DATA or "
            "~/.cache/plusx. With --resume: the folder that now contains the run's own images."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="With --resume: cpu, cuda or mps; by default, the device that the run began on.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download CIFAR or published weights if they are missing.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Rewrite the run's report.html during training; an open page follows.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write files for TensorBoard to the run's folder tensorboard.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and write a run directory.

    \b
    Examples:
      plusx train digits
      plusx train ./photos --pretrained
      plusx train ./photos --from runs/birds-resnet18-seed0 --quick
      plusx train --resume runs/digits-resnet20-seed0
    """
    if resume is not None and any((data, recipe, pretrained, weights, fast, out, seed is not None, settings, speed)):
        raise ValueError(
            "--resume takes the run as it is; only --data-dir, --device, --watch, --tensorboard, --quiet and --json "
            "go with it"
        )
    if pretrained and weights is not None:
        raise ValueError("--pretrained and --from both name the weights to start from; give one of them")
    if fast and recipe is not None:
        raise ValueError("--quick is the recipe `quick`; leave out --recipe")
    if resume is None and device is not None:
        raise ValueError("--device goes with --resume; for a new run, write --set placement.device=cpu")
    if resume is None and data is None:
        raise ValueError("name the data: digits, cifar10, cifar100 or a folder of class folders; or --resume RUN")
    title = str(resume or data)
    with stoppable() as should_stop, watching(title, quiet=quiet, stopping=should_stop) as bar:
        common: dict[str, Any] = {"data_dir": data_dir, "progress": bar, "should_stop": should_stop}
        common |= {"watch": watch, "tensorboard": tensorboard}
        if resume is not None:
            trained = plusx.resume(resume, device=device, **common)
        else:
            assert data is not None
            overrides = parse_settings(settings)
            if speed is not None:
                overrides |= {"placement.choose": "measure"}
            asked: dict[str, Any] = {
                "recipe": "quick" if fast else recipe,
                "weights": "pretrained" if pretrained else weights,
                "out": out,
                "seed": seed,
                "overrides": overrides,
            }
            trained = plusx.train(data, download=download, **asked, **common)
    results = trained.card.results
    if as_json:
        found = trained.card.calibration
        about = {"run": str(trained.run), "recipe": trained.card.recipe.name}
        print_json({**about, **results, "temperature": found.temperature if found else None})
        return
    print(_kept(trained.card))
    pace = f"{results['images_per_s']:,.0f} images/s, " if results["steps"] else ""
    print(f"{pace}{results['seconds']:.0f} s; report: {trained.run / 'report.html'}")
    print(_calibrated(trained))
    print(f"next: plusx evaluate {trained.run}")


def _calibrated(trained: "Trained") -> str:
    """Whether the probabilities are calibrated, and on what, or why they are not."""
    if (found := trained.card.calibration) is not None:
        return f"calibration: {found.in_words}"
    return f"calibration: none, for want of validation images; plusx calibrate {trained.run} FOLDER"


def _kept(card: "Card") -> str:
    """Which weights a run kept, by which error they were chosen, and on how many images it was measured."""
    results, images = card.results, card.source["images"]
    names = {"train": "training", "val": "validation", "test": "test"}
    errors = {split: per_cent(results[f"{split}_error"]) for split in names if f"{split}_error" in results}
    measured = [f"{error} {names[split]} error on {images[split]:,} images" for split, error in errors.items()]
    which = "last"
    if card.recipe.evaluation.keep == "best" and "val" in errors:
        which = "best"
        chosen = f"{errors['val']} validation error (step {results['kept_step']:,}), on {images['val']:,} images"
        measured[list(errors).index("val")] = chosen
    fitted = results.get("fitted_head") if not results["steps"] else None
    if fitted and fitted["cv_error"] is not None:
        measured.append(f"{per_cent(fitted['cv_error'])} in cross-validation")
    used = ", ".join([f"{images['train']:,} trained on", *card.left_out])
    what = "its last layer fitted" if fitted else f"{which} of {results['steps']:,} steps"
    return f"{results['net']}, {what}: {', '.join(measured)}; {used}"
