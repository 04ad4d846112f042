"""`plusx train`: a new run, or one that is resumed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, TrustCode, parse_settings
from plusx.cli.signals import stoppable
from plusx.cli.trained import print_folds, print_found, print_trained
from plusx.progress import watching


class Balance(StrEnum):
    """What `--balance` takes."""

    NONE = "none"
    LOSS = "loss"
    SAMPLER = "sampler"


class Fit(StrEnum):
    """What `--fit` takes."""

    CROP = "crop"
    PAD = "pad"
    SQUASH = "squash"


RECIPE, START, LIMITS = "How it is trained", "What it starts from", "How long, and how much memory"
INSTEAD, WHERE = "Instead of a new run", "Where it runs, reads and writes"
"""Headings of the help."""
NO_RUN = ("--quick", "--out", "--max-time", "--memory", "--patience", "--folds", "--speed")
"""What does not go with --find-lr, which writes no run."""
NO_FOLDS = ("--max-time", "--memory")
"""What does not go with --folds: what was measured for one fold would not be so for the others."""


class Speed(StrEnum):
    """What `--speed` takes."""

    SHOW = "show"


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
    fit: Annotated[
        Fit | None,
        typer.Option(
            help="How an image of another shape becomes the input; sets preprocess.fit.", rich_help_panel=RECIPE
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Keep images together in one split: those in whose paths the first brackets match the same text; sets "
            "data.group.",
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
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Cross-validation: train a run for each of so many folds of the images; needs --out.",
            rich_help_panel=INSTEAD,
        ),
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
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Rewrite the run's report.html during training; an open page follows.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write files for TensorBoard to the run's folder tensorboard.",
            rich_help_panel=WHERE,
        ),
    ] = False,
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
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and write a run directory.

    \b
    Examples:
      plusx train digits
      plusx train ./photos --pretrained
      plusx train photos.csv --fit pad
      plusx train ./photos --from runs/birds-resnet18-seed0 --quick
      plusx train ./photos --max-time 20m --balance sampler
      plusx train ./photos --folds 5 --out runs/photos-folds
      plusx train --resume runs/digits-resnet20-seed0
    """
    asked_for = {
        "--recipe": recipe,
        "--pretrained": pretrained,
        "--from": weights,
        "--quick": fast,
        "--out": out,
        "--seed": seed,
        "--max-time": max_time,
        "--patience": patience,
        "--memory": memory,
        "--balance": balance,
        "--fit": fit,
        "--group": group,
        "--folds": folds,
        "--set": settings,
        "--speed": speed,
        "--find-lr": find_lr,
    }
    given = [option for option, value in asked_for.items() if value not in (None, False, [])]
    if resume is not None and (data is not None or given):
        raise ValueError(
            f"--resume takes the run as it is, without {given[0] if given else data}; only --data-dir, --device, "
            "--trust-code, --watch, --tensorboard, --quiet and --json go with it"
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
    for alone, refused in ((find_lr and "--find-lr", NO_RUN), (folds is not None and "--folds", NO_FOLDS)):
        if alone and (other := [option for option in given if option in refused]):
            way = "; --set epochs=N limits every fold" if other[0] == "--max-time" and alone == "--folds" else ""
            raise ValueError(f"{alone} and {other[0]} do not go together{way}")
        if alone and (watch or tensorboard):
            raise ValueError(f"{alone} and {'--watch' if watch else '--tensorboard'} do not go together")
    if folds is not None and out is None:
        raise ValueError("--folds needs --out DIR; if it is interrupted, the same command goes on there")
    overrides: dict[str, Any] = parse_settings(settings)
    if patience is not None:
        overrides = {"evaluation.keep": "best", "evaluation.patience": str(patience)} | overrides
    chosen = {"balance": balance, "preprocess.fit": fit, "data.group": group, "placement.choose": speed and "measure"}
    overrides |= {key: str(value) for key, value in chosen.items() if value is not None}
    asked: dict[str, Any] = {
        "recipe": "quick" if fast else recipe,
        "weights": "pretrained" if pretrained else weights,
        "seed": seed,
        "overrides": overrides,
        "data_dir": data_dir,
        "download": download,
    }
    if find_lr:
        with watching(str(data), quiet=quiet, unit="steps") as bar:
            found = plusx.find_lr(str(data), progress=bar, **asked)
        print_found(found, str(data), as_json=as_json)
        return
    title = str(resume or data)
    with stoppable() as should_stop, watching(title, quiet=quiet, stopping=should_stop) as bar:
        common: dict[str, Any] = {"progress": bar, "should_stop": should_stop}
        follow: dict[str, Any] = {"watch": watch, "tensorboard": tensorboard}
        if resume is not None:
            trained = plusx.resume(resume, device=device, trust_code=trust_code, data_dir=data_dir, **follow, **common)
        elif folds is not None:
            validated = plusx.cross_validate(str(data), folds=folds, out=str(out), **asked, **common)
        else:
            trained = plusx.train(str(data), out=out, max_time=max_time, memory=memory, **asked, **follow, **common)
    if folds is not None:
        print_folds(validated, as_json=as_json)
    else:
        print_trained(trained, as_json=as_json)
