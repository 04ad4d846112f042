"""`plusx train`: a new run, or one that is resumed."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, parse_settings
from plusx.cli.signals import stoppable
from plusx.cli.tables import filled, per_cent, print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.engine.rate import FoundRate
    from plusx.runs.card import Card


class Balance(StrEnum):
    """What `--balance` takes."""

    NONE = "none"
    LOSS = "loss"
    SAMPLER = "sampler"


RECIPE, START, LIMITS = "How it is trained", "What it starts from", "How long, and how much memory"
INSTEAD, WHERE = "Instead of a new run", "Where it runs, reads and writes"
"""Headings of the help."""


class Speed(StrEnum):
    """What `--speed` takes."""

    SHOW = "show"


def train(
    data: Annotated[str | None, typer.Argument(help="digits, cifar10, cifar100, or a folder of class folders.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name of a recipe; `plusx recipes` lists them. By default, the recipe for the data.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one field of the recipe; can be repeated.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed; overrides the recipe's.", rich_help_panel=RECIPE)
    ] = None,
    balance: Annotated[
        Balance | None,
        typer.Option(
            help="Make classes of unequal size count the same: weigh the loss, or draw all equally often.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Start from the weights that are published of the net; they are fetched if they are not in the cache.",
            rich_help_panel=START,
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="Start from these weights: a run, a file, torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.",
            rich_help_panel=START,
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Fit the last layer only, in seconds; goes with --pretrained or --from.",
            rich_help_panel=START,
        ),
    ] = False,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="20m, 90s, 1h30m: as many steps as fit into this time, with the whole schedule of the learning rate.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Stop after N evaluations without a lower validation error, and keep the best weights.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="4GB, 800MB: take smaller batches, with lower rates, where the recipe's need more memory.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Resume a run that was stopped or killed.", rich_help_panel=INSTEAD)
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="Suggest a learning rate, from some steps with growing ones; nothing is written.",
            rich_help_panel=INSTEAD,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="New run directory; by default, a free name under runs/.", rich_help_panel=WHERE),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that contains CIFAR or that it is downloaded to; by default PLUSX_DATA or "
            "~/.cache/plusx. With --resume: the folder that now contains the run's own images.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Download CIFAR or published weights if they are missing.", rich_help_panel=WHERE
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="With --resume: cpu, cuda or mps; by default, the device that the run began on.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    speed: Annotated[
        Speed | None,
        typer.Option(
            help="show: time a few steps of each way to run the net, print the times and use the fastest.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and write a run directory.

    \b
    Examples:
      plusx train digits
      plusx train ./photos --pretrained
      plusx train ./photos --from runs/birds-resnet18-seed0 --quick
      plusx train ./photos --max-time 20m --balance sampler
      plusx train --resume runs/digits-resnet20-seed0
    """
    new = (
        data,
        recipe,
        pretrained,
        weights,
        fast,
        out,
        seed is not None,
        max_time,
        patience,
        memory,
        balance,
        settings,
        speed,
    )
    if resume is not None and any(new):
        raise ValueError("--resume takes the run as it is; only --data-dir, --device, --quiet and --json go with it")
    if pretrained and weights is not None:
        raise ValueError("--pretrained and --from both name the weights to start from; give one of them")
    if fast and recipe is not None:
        raise ValueError("--quick is the recipe `quick`; leave out --recipe")
    if resume is None and device is not None:
        raise ValueError("--device goes with --resume; for a new run, write --set placement.device=cpu")
    if resume is None and data is None:
        raise ValueError("name the data: digits, cifar10, cifar100 or a folder of class folders; or --resume RUN")
    if find_lr:
        if resume is not None or fast or out is not None or max_time is not None or memory is not None:
            raise ValueError(
                "--find-lr writes no run: --resume, --quick, --out, --max-time and --memory do not go with it"
            )
        assert data is not None
        overrides = parse_settings(settings) | ({"balance": balance.value} if balance is not None else {})
        begin: dict[str, Any] = {"recipe": recipe, "weights": "pretrained" if pretrained else weights, "seed": seed}
        with watching(data, quiet=quiet, unit="steps") as bar:
            found = plusx.find_lr(
                data, overrides=overrides, data_dir=data_dir, download=download, progress=bar, **begin
            )
        _print_found(found, data, as_json)
        return
    title = str(resume or data)
    with stoppable() as should_stop, watching(title, quiet=quiet, stopping=should_stop) as bar:
        common: dict[str, Any] = {"data_dir": data_dir, "progress": bar, "should_stop": should_stop}
        if resume is not None:
            trained = plusx.resume(resume, device=device, **common)
        else:
            assert data is not None
            overrides = parse_settings(settings)
            if patience is not None:
                overrides = {"evaluation.keep": "best", "evaluation.patience": str(patience)} | overrides
            if balance is not None:
                overrides = {"balance": balance.value} | overrides
            if speed is not None:
                overrides |= {"placement.choose": "measure"}
            asked: dict[str, Any] = {
                "recipe": "quick" if fast else recipe,
                "weights": "pretrained" if pretrained else weights,
                "out": out,
                "seed": seed,
                "max_time": max_time,
                "memory": memory,
                "overrides": overrides,
            }
            trained = plusx.train(data, download=download, **asked, **common)
    results = trained.card.results
    if as_json:
        print_json({"run": str(trained.run), "recipe": trained.card.recipe.name, **results})
        return
    print(_kept(trained.card))
    pace = f"{results['images_per_s']:,.0f} images/s, " if results["steps"] else ""
    if (recipe_used := trained.card.recipe).max_time is not None or recipe_used.evaluation.patience is not None:
        print(f"stopped {results['stopped']}")
    print(f"{pace}{results['seconds']:.0f} s; report: {trained.run / 'report.html'}")
    print(f"next: plusx evaluate {trained.run}")


def _print_found(found: "FoundRate", data: str, as_json: bool) -> None:
    """The loss at some of the rates, and the one that is suggested."""
    if as_json:
        facts = {"net": found.net, "data": data, "optim.lr": found.recipe_rate, "suggested": found.suggested}
        print_json({**facts, "rates": found.rates, "losses": found.losses})
        return
    shown = range(0, len(found.rates), max(1, len(found.rates) // 12))
    print_table(["learning rate", "loss (nats)"], [[f"{found.rates[i]:.1e}", f"{found.losses[i]:.3f}"] for i in shown])
    if found.suggested is None:
        print(
            filled(f"The loss falls at no rate; the recipe has {found.recipe_rate:g}. More images, or other weights?")
        )
        return
    print(
        filled(
            f"suggested: --set optim.lr={found.suggested:.2g}, a tenth of where the loss is lowest; the recipe has "
            f"{found.recipe_rate:g}"
        )
    )


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
    for place, split in enumerate(errors):
        if (balanced := results.get(f"{split}_balanced_error")) is not None:
            measured[place] += f" ({per_cent(balanced)} in the mean over classes)"
    fitted = results.get("fitted_head") if not results["steps"] else None
    if fitted and fitted["cv_error"] is not None:
        measured.append(f"{per_cent(fitted['cv_error'])} in cross-validation")
    used = ", ".join([f"{images['train']:,} trained on", *card.left_out])
    what = "its last layer fitted" if fitted else f"{which} of {results['steps']:,} steps"
    return f"{results['net']}, {what}: {', '.join(measured)}; {used}"
