"""`plusx train`: a new run, or one that is resumed."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, Settings, TrustCode, parse_settings
from plusx.cli.signals import stoppable
from plusx.cli.tables import per_cent, print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.engine.folds import CrossValidated
    from plusx.runs.card import Card


class Speed(StrEnum):
    """What `--speed` takes."""

    SHOW = "show"


class Fit(StrEnum):
    """What `--fit` takes."""

    CROP = "crop"
    PAD = "pad"
    SQUASH = "squash"


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, cifar10, cifar100, a folder of class folders, or a table (.csv) with the columns path and "
            "label, and perhaps split and group."
        ),
    ] = None,
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
    fit: Annotated[
        Fit | None, typer.Option(help="How an image of another shape becomes the input; sets preprocess.fit.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Keep images together in one split: those in whose paths the first brackets match the same text; sets "
            "data.group.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validation: train a run for each of so many folds of the images; needs --out."),
    ] = None,
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
    trust_code: TrustCode = False,
    download: Annotated[
        bool, typer.Option("--download", help="Download CIFAR or published weights if they are missing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and write a run directory.

    \b
    Examples:
      plusx train digits
      plusx train ./photos --pretrained
      plusx train photos.csv --fit pad
      plusx train ./photos --folds 5 --out runs/photos-folds
      plusx train ./photos --from runs/birds-resnet18-seed0 --quick
      plusx train --resume runs/digits-resnet20-seed0
    """
    if resume is not None and any(
        (
            data,
            recipe,
            pretrained,
            weights,
            fast,
            out,
            seed is not None,
            settings,
            speed,
            fit,
            group is not None,
            folds is not None,
        )
    ):
        raise ValueError(
            "--resume takes the run as it is; only --data-dir, --device, --trust-code, --quiet and --json go with it"
        )
    if pretrained and weights is not None:
        raise ValueError("--pretrained and --from both name the weights to start from; give one of them")
    if fast and recipe is not None:
        raise ValueError("--quick is the recipe `quick`; leave out --recipe")
    if resume is None and device is not None:
        raise ValueError("--device goes with --resume; for a new run, write --set placement.device=cpu")
    if resume is None and trust_code:
        raise ValueError("--trust-code goes with --resume; a file that you name, --set net.name=mynet.py:MyNet, is run")
    if resume is None and data is None:
        raise ValueError(
            "name the data: digits, cifar10, cifar100, a folder of class folders or a table (.csv); or --resume RUN"
        )
    title = str(resume or data)
    with stoppable() as should_stop, watching(title, quiet=quiet, stopping=should_stop) as bar:
        common: dict[str, Any] = {"data_dir": data_dir, "progress": bar, "should_stop": should_stop}
        if resume is not None:
            trained = plusx.resume(resume, device=device, trust_code=trust_code, **common)
        else:
            assert data is not None
            overrides = parse_settings(settings)
            if speed is not None:
                overrides |= {"placement.choose": "measure"}
            for key, value in {"preprocess.fit": fit, "data.group": group}.items():
                if value is not None:
                    overrides |= {key: str(value)}
            asked: dict[str, Any] = {
                "recipe": "quick" if fast else recipe,
                "weights": "pretrained" if pretrained else weights,
                "out": out,
                "seed": seed,
                "overrides": overrides,
            }
            if folds is not None:
                if out is None:
                    raise ValueError("--folds needs --out DIR; if it is interrupted, the same command goes on there")
                validated = plusx.cross_validate(data, folds=folds, download=download, **asked, **common)
            else:
                trained = plusx.train(data, download=download, **asked, **common)
    if folds is not None:
        _print_folds(validated, as_json=as_json)
        return
    results = trained.card.results
    if as_json:
        print_json({"run": str(trained.run), "recipe": trained.card.recipe.name, **results})
        return
    print(_kept(trained.card))
    pace = f"{results['images_per_s']:,.0f} images/s, " if results["steps"] else ""
    print(f"{pace}{results['seconds']:.0f} s; report: {trained.run / 'report.html'}")
    print(f"next: plusx evaluate {trained.run}")


def _print_folds(validated: "CrossValidated", *, as_json: bool) -> None:
    """The error of each fold, their mean and deviation."""
    if as_json:
        runs = [
            {"run": str(run), "images": each.images, "test_error": each.error}
            for run, each in zip(validated.runs, validated.scores, strict=True)
        ]
        print_json(
            {
                "out": str(validated.out),
                "images": validated.score.images,
                "test_error": validated.mean,
                "test_error_std": validated.std,
                "test_error_of_all": validated.score.error,
                "runs": runs,
                "notes": list(validated.notes),
                "predictions": str(validated.out / "predictions.csv"),
            }
        )
        return
    rows = [
        [str(number), f"{each.images:,}", per_cent(each.error)] for number, each in enumerate(validated.scores, start=1)
    ]
    print_table(["fold", "images", "error"], rows)
    print(
        f"error {100 * validated.mean:.2f} ± {per_cent(validated.std)} (mean ± standard deviation of {len(rows)} "
        f"folds); {per_cent(validated.score.error)} of all {validated.score.images:,} images, each by a run without it"
    )
    for note in validated.notes:
        print(f"note: {note}")
    print(f"predictions: {validated.out / 'predictions.csv'}; report: {validated.out / 'evaluation.html'}")


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
