"""The command line: a verb parses, calls one function of the API, prints.

Results go to standard output, progress and faults to standard error. With --json the last line of standard output is
one JSON object. Exit code 0 is success, 2 a user's mistake in one sentence, 130 an interrupt. Importing this module
does not import torch: `plusx --help` answers at once.
"""

import inspect
import io
import json
import os
import shlex
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from importlib import metadata
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.data.check import Check
    from plusx.engine.evaluation import Evaluated
    from plusx.nets import Entry
    from plusx.recipes import Recipe, RecipeEntry
    from plusx.runs.card import Card

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training on it.")
benchmark_app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine, beside plain PyTorch.")
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field; repeatable.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that CIFAR is in, or that --download brings it to; PLUSX_DATA or ~/.cache/plusx if not set. "
        "For a run, where its own images lie now."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps, wherever it was trained.")]
FEW = 20
"""Images that are predicted in no time."""


def _version(asked: bool) -> None:
    if asked:  # of the installed packages: nothing is imported for it
        print(f"plusx {metadata.version('plusx')} (torch {metadata.version('torch')})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions of plusx and torch.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Residual networks and the convolutional networks before and after them: y = F(x) + x."""


def main() -> None:
    """Run the command line. A fault that a user can cause becomes one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal's encoding lacks, such as a name not in UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    if not os.environ.get("PLUSX_TRACEBACK"):
        warnings.simplefilter("ignore")  # of libraries, on what is then said in one sentence
    try:
        app()
    except (ValueError, OSError) as fault:
        if os.environ.get("PLUSX_TRACEBACK"):
            raise
        print(f"plusx: {' '.join(str(fault).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("plusx: interrupted", file=sys.stderr)
        sys.exit(130)


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the four runs and report.html, or that of a demo that was stopped."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all four nets.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """See that deeper plain nets train worse and residual nets do not: four nets on real digits, in about a minute.

    Example: plusx demo
    """
    with _stoppable() as should_stop, watching("demo", quiet=quiet, stopping=should_stop) as watch:
        found = plusx.demo(out, seed=seed, watch=watch, should_stop=should_stop)
    results = [run.card.results for run in found.runs]
    if as_json:
        runs = [{"run": str(run.run), **run.card.results} for run in found.runs]
        seconds = sum(r["seconds"] for r in results)
        _print_json({"holds": found.holds, "report": str(found.report), "seconds": seconds, "runs": runs})
        return
    rows = [
        [r["net"], f"{r['params']:,}", _pct(r["train_error"]), _pct(r["test_error"]), f"{r['seconds']:.1f} s"]
        for r in results
    ]
    _print_table(["net", "parameters", "training error", "test error", "time"], rows)
    for sentence in found.findings:
        print(_filled(sentence))
    print(f"\nCurves: {found.report}")


class Speed(StrEnum):
    """What `--speed` takes."""

    SHOW = "show"


class Budget(StrEnum):
    """What `--budget` takes."""

    QUICK = "quick"
    PAPER = "paper"


class Augmented(StrEnum):
    """What `--tta`, test-time augmentation, takes."""

    FLIP = "flip"


@app.command()
def train(
    data: Annotated[str | None, typer.Argument(help="digits, cifar10, cifar100, or a folder of class folders.")] = None,
    recipe: Annotated[str | None, typer.Option(help="digits, cifar10-quick, cifar10-paper, folder, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="New run directory; a free name under runs/ if not given.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
    settings: Settings = None,
    resume: Annotated[Path | None, typer.Option(help="Resume a run that was stopped or killed.")] = None,
    speed: Annotated[
        Speed | None, typer.Option(help="show: time a few steps of each way to run, print them, take the fastest.")
    ] = None,
    data_dir: DataDir = None,
    device: Annotated[
        str | None, typer.Option(help="With --resume: cpu, cuda or mps, in place of the one that the run began on.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch CIFAR, or published weights.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and leave a run directory.

    Examples: plusx train digits; plusx train ./photos --set epochs=20; plusx train --resume runs/digits-resnet20-seed0
    """
    if resume is not None and (data, recipe, out, seed, settings, speed) != (None, None, None, None, None, None):
        raise ValueError("--resume takes the run as it is; leave out DATA, --recipe, --out, --seed, --set and --speed")
    if resume is None and device is not None:
        raise ValueError("--device is for --resume; a new run takes --set placement.device=cpu")
    if resume is None and data is None:
        raise ValueError("name the data: digits, cifar10, cifar100 or a folder of class folders; or --resume RUN")
    title = str(resume or data)
    with _stoppable() as should_stop, watching(title, quiet=quiet, stopping=should_stop) as watch:
        common: dict[str, Any] = {
            "progress": watch,
            "should_stop": should_stop,
        }
        if resume is not None:
            trained = plusx.resume(resume, data_dir=data_dir, device=device, **common)
        else:
            assert data is not None
            overrides = _pairs(settings)
            if speed is not None:
                overrides |= {"placement.choose": "measure"}
            given: dict[str, Any] = {"recipe": recipe, "out": out, "seed": seed, "overrides": overrides}
            trained = plusx.train(data, data_dir=data_dir, download=download, **given, **common)
    results = trained.card.results
    if as_json:
        _print_json({"run": str(trained.run), "recipe": trained.card.recipe.name, **results})
        return
    print(_kept(trained.card))
    print(f"{results['images_per_s']:,.0f} images/s, {results['seconds']:.0f} s; report: {trained.run / 'report.html'}")
    print(f"next: plusx evaluate {trained.run}")


def _kept(card: "Card") -> str:
    """Which weights a run kept, what they were chosen by, and on how many images that was measured."""
    results, images = card.results, card.source["images"]
    names = {"train": "training", "val": "validation", "test": "test"}
    errors = {split: _pct(results[f"{split}_error"]) for split in names if f"{split}_error" in results}
    measured = [f"{error} {names[split]} error on {images[split]:,} images" for split, error in errors.items()]
    which = "last"
    if card.recipe.evaluation.keep == "best" and "val" in errors:
        which = "best"
        chosen = f"{errors['val']} validation error (step {results['kept_step']:,}), on {images['val']:,} images"
        measured[list(errors).index("val")] = chosen
    used = ", ".join([f"{images['train']:,} trained on", *card.left_out])
    return f"{results['net']}, {which} of {results['steps']:,} steps: {', '.join(measured)}; {used}"


@app.command()
def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [DATA]", help="Run directories, and a folder of class folders if not their own images."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="train, val or test; test, or else val, if not set.", metavar="SPLIT")
    ] = None,
    crops: Annotated[int, typer.Option(help="1, or 10: corners and centre, mirrored.")] = 1,
    scales: Annotated[str | None, typer.Option(metavar="S,...", help="Shorter sides in pixels, averaged.")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="The whole image at each scale, not crops of it.")] = False,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average the answers of all runs.")] = False,
    tta: Annotated[Augmented | None, typer.Option(help="flip: average with the mirror image.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="For predictions.csv, evaluation.json and evaluation.html; the run itself if not set."),
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure trained nets; every image counts once, and none that was trained on. Mistakes go into a report.

    Examples: plusx evaluate runs/digits-resnet20-seed0;
    plusx evaluate runs/a runs/b photos --ensemble --crops 10 --scales 256,384
    """
    paths, data = _runs_and_data(runs)
    asked = (crops, scales, dense, tta) != (1, None, False, None)
    views = plusx.Views(crops, _sides(scales), dense, tta is not None) if asked else None
    if out is not None and len(paths) > 1 and not ensemble:
        raise ValueError("--out is one folder; give one run, or --ensemble")
    found = []
    with watching("evaluating", quiet=quiet, unit="images") as watch:
        for group in [paths] if ensemble else [[path] for path in paths]:
            where: dict[str, Any] = {"out": out, "data_dir": data_dir, "device": device}
            shown: dict[str, Any] = {"on_scan": watch, "watch": watch}
            found.append(plusx.evaluate(group, data, split=split, views=views, **where, **shown))
    if as_json:
        results = [_evaluated(each) for each in found]
        _print_json(results[0] if len(results) == 1 else {"runs": results})
        return
    for each in found:
        s = each.score
        who = f"{' + '.join(run.name for run in each.runs)}, " if len(paths) > 1 else ""
        top5 = "" if s.top5_error is None else f"top-5 error {_pct(s.top5_error)}, "
        print(
            f"{who}{each.part}: error {_pct(s.error)} on {s.images:,} images, {top5}"
            f"cross entropy {s.loss:.4f} nats, calibration error {_pct(s.calibration_error)}"
        )
        for note in each.notes:
            print(f"note: {note}")
        if each.out is not None:
            print(f"report: {each.out / 'evaluation.html'}")
    if out is not None and found[0].out is None:
        raise ValueError(found[0].notes[-1])


def _evaluated(found: "Evaluated") -> dict[str, Any]:
    part, s = found.part if found.part in ("train", "val") else "test", found.score
    return {
        "run": str(found.runs[0]) if len(found.runs) == 1 else [str(run) for run in found.runs],
        "data": found.part,
        "images": s.images,
        f"{part}_error": s.error,
        f"{part}_accuracy": 1 - s.error,
        **({} if s.top5_error is None else {f"{part}_top5_error": s.top5_error}),
        f"{part}_loss": s.loss,
        "calibration_error": s.calibration_error,
        "balanced_accuracy": s.balanced_accuracy,
        "notes": list(found.notes),
        "report": str(found.out / "evaluation.html") if found.out else None,
    }


def _runs_and_data(arguments: Sequence[str]) -> tuple[list[Path], str | None]:
    """What was named, as run directories and what they are to be measured on: the last, if it is no run."""
    *runs, last = arguments
    if not runs or (Path(last) / "card.json").is_file():
        return [Path(run) for run in arguments], None
    return [Path(run) for run in runs], last


def _sides(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(f"--scales is {text!r}; write pixels of the shorter side, such as 224,256,384") from None


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 5,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16, or int8 by OpenVINO, calibrated on the run's own images.")
    ] = "auto",
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict the classes of images. Unreadable files are named at the end; the others are answered all the same.

    Example: plusx predict runs/photos-resnet18-seed0 cat.jpg dog.jpg
    """
    with watching("loading", quiet=quiet):
        predictor = plusx.Predictor(run, precision=precision, device=device, pictures=len(images))
    answers, faults = [], []
    shown = sys.stdout.isatty() and not as_json  # the answers themselves are the progress
    with watching("predicting", quiet=quiet or shown or len(images) <= FEW, unit="images") as watch:
        each = zip(images, predictor.predict_many(images, top_k=top), strict=True)
        for number, (image, answer) in enumerate(each, start=1):
            if isinstance(answer, ValueError):
                faults.append((image, str(answer)))
            elif as_json:
                answers.append(asdict(answer))
            else:
                shares = zip(answer.classes, answer.probabilities, strict=True)
                print(f"{answer.file}: {', '.join(f'{name} {100 * p:.1f} %' for name, p in shares)}")
            watch(number, len(images))
    if as_json:
        bad = [{"file": image, "error": fault} for image, fault in faults]
        _print_json({"run": str(run), "note": predictor.note, "files": answers + bad})
    elif predictor.note:
        print(f"note: {predictor.note}", file=sys.stderr)
    if faults:
        raise ValueError("; ".join(fault for _, fault in faults))


@app.command()
def analyse(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    question: Annotated[
        str,
        typer.Argument(
            help="responses, gradients, lesions, shuffling, paths, shortcuts, filters or features; "
            "the papers' figures, for this net."
        ),
    ],
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put a question to a trained net: how strongly layers respond, what is lost without a block, and others.

    The answer is a figure in the run's figures/, with its numbers beside it.

    Example: plusx analyse runs/cifar10-resnet56-seed0 lesions
    """
    with watching(question, quiet=quiet, unit="images") as watch:
        found = plusx.analyse(run, question, data_dir=data_dir, watch=watch)
    if as_json:
        series = {name: [m._asdict() for m in each] for name, each in found.series.items()}
        about = {"run": str(run), "question": question, "images": found.images, "figure": str(found.figure)}
        _print_json({**about, "series": series})
        return
    print(_filled(found.asks))
    for shown in found.tables():
        print(f"\n{shown.title}")
        _print_table(shown.head, shown.rows)
    print(f"figure: {found.figure}")


@app.command()
def reproduce(
    experiment: Annotated[str | None, typer.Argument(help="Its name; --list has them.")] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show every experiment, its cost and its result so far.")
    ] = False,
    budget: Annotated[
        Budget,
        typer.Option(help="quick: the paper's recipe in fewer steps. paper: as the paper trained, weeks on a CPU."),
    ] = Budget.QUICK,
    out: Annotated[Path, typer.Option(help="Folder of all experiments, which share trainings.")] = Path("reproduced"),
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a table or figure of the papers, paper beside ours. Stop it at any time; the same command resumes it.

    Examples: plusx reproduce --list; plusx reproduce worked-example; plusx reproduce degradation
    """
    if show:
        _standing(plusx.standing(out, budget.value), as_json)
        return
    if experiment is None:
        raise ValueError("name an experiment, or --list them")
    typed = shlex.join(["plusx", *sys.argv[1:]])
    with _stoppable(typed) as should_stop, watching(experiment, quiet=quiet, stopping=should_stop) as watch:
        found = plusx.reproduce(
            experiment, out=out, budget=budget.value, data_dir=data_dir, watch=watch, should_stop=should_stop
        )
    report = found.folder / "report.html"
    if as_json:
        about = {"experiment": experiment, "budget": budget, "seen": found.result.seen, "seconds": found.seconds}
        _print_json({**about, "findings": found.result.findings, "report": str(report)})
        return
    print(_filled(found.experiment.claim))
    for shown in found.result.tables:
        print(f"\n{_filled(shown.title)}")
        _print_table(shown.head, shown.rows)
    for sentence in found.result.findings:
        print(_filled(sentence))
    print(f"\nFigures: {report}")


def _standing(found: Sequence[Any], as_json: bool) -> None:
    if as_json:
        _print_json({"experiments": [asdict(each) for each in found]})
        return
    rows = []
    for each in found:
        status = "not run" if each.trained == 0 else f"{each.trained} of {each.trials} trained"
        if each.findings:
            status = "done" if not each.seen else f"claim seen: {each.verdict}"
        cost = "–" if each.minutes is None else f"about {each.minutes or 1:,}"
        if each.seconds is not None:
            cost = f"{each.seconds / 60:,.0f}"
        rows.append([each.name, f"{each.trials}", cost, status])
    _print_table(["experiment", "trainings", "minutes", "status"], rows)
    if any(each.seconds is None and each.minutes is not None for each in found):
        print(_filled("about: on two cores, as in results/; experiments share trainings."))
    for each in found:
        if each.findings:
            print(_filled(f"{each.name}: {each.findings[0]}", 2))


@app.command()
def convert(
    weights: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A checkpoint, torchvision:IMAGENET1K_V1, or timm/resnet50.a1_in1k."),
    ],
    net: Annotated[str | None, typer.Option(help="Catalog name of the net; timm's names tell it.")] = None,
    out: Annotated[Path | None, typer.Option(help="New run directory; a free name under runs/ if not given.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="Builder option, such as shortcut=C; padding=behind or both: where option A's zeros lie.",
        ),
    ] = None,
    entry: Annotated[
        str | None, typer.Option(help="Entry of the file that holds the weights, such as model_ema.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Take the tensors whose names begin with it, such as teacher.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="cifar10 or cifar100, if trained on that: names the classes, to be measured on.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="File of the class names, one a line in the order of the last layer; or imagenet."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input in pixels.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="R,G,B", help="Of pixels / 255, one a channel.")] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="Of pixels / 255, one a channel.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch published weights that the cache lacks.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a run directory of other people's weights, for every verb that takes one.

    The layouts of torchvision, timm, akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar are recognised, and
    with them how images were normalised; --size, --mean and --std override them. Nothing in a file is run.

    No tensor shows on which convolution of a bottleneck the stride lies (--set stride_on=1x1 where it is not the 3x3),
    nor dilation, the epsilon of batch norm, the activation (--set activation=silu) or blurred pooling: weights of a net
    that differs in one of these are read without a fault and answer wrongly, so measure them.

    Examples: plusx convert resnet20-12fca82f.th --net resnet20 --data cifar10;
    plusx convert torchvision:IMAGENET1K_V1 --net resnet50 --download
    """
    made = plusx.convert(
        weights,
        net,
        out=out,
        options=_options(settings),
        entry=entry,
        prefix=prefix,
        data=data,
        classes=classes,
        size=size,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        download=download,
        progress=sys.stderr.isatty() and not quiet,
    )
    found, results = made.translation, made.card.results
    if as_json:
        names = {"matched": found.matched, "renamed": found.renamed, "dropped": found.dropped, "missing": found.missing}
        paths = {"run": str(made.run), "file": str(made.file), "others": made.others, "notes": made.card.notes}
        _print_json({**results, **paths, "preprocess": made.preprocess_in_words, **names})
        return
    renamed = [f"{theirs} -> {ours}" for theirs, ours in found.renamed.items()]
    missing = [name for name in found.missing if not name.endswith("num_batches_tracked")]
    if counters := len(found.missing) - len(missing):
        missing.append(f"{counters} counters of batch norm, which decide nothing")
    class_names = made.card.class_names
    taken = f", entry {made.entry} of the file" if made.entry else ""
    also = f" (--entry chooses another: {', '.join(made.others)})" if made.others else ""
    off = f", without the prefix {found.prefix}" if found.prefix else ""
    dropped = [*found.dropped[:3], *["... (--json has all)"] * (len(found.dropped) > 3)]
    lines = {
        "layout": f"{found.source}{taken}{also}{off}",
        f"matched {len(found.matched):,}": "",
        f"renamed {len(found.renamed):,}": ", ".join(renamed[:3] + ["... (--json has all)"] * (len(renamed) > 3)),
        f"dropped {len(found.dropped):,}": ", ".join(dropped),
        f"missing {len(found.missing):,}": ", ".join(missing),
        "input": made.preprocess_in_words,
        "classes": f"{len(class_names):,}: {', '.join(class_names[:3])}{', ...' if class_names[3:] else ''}",
        "run": f"{made.run}: {results['net']}, {results['params']:,} parameters",
    }
    indent = max(map(len, lines)) + 2
    for title, text in lines.items():
        line = f"{title:<{indent}}{text}".rstrip()
        print(textwrap.fill(line, min(_width(), 120), subsequent_indent=" " * indent, break_on_hyphens=False))
    for note in made.card.notes:
        print(textwrap.fill(f"note: {note}", min(_width(), 120), subsequent_indent="  ", break_on_hyphens=False))
    if made.card.source["name"]:
        print(f"next: plusx evaluate {made.run} --data-dir DIR")
        return
    print(f"next: plusx predict {made.run} IMAGE")
    print("to measure it on class folders with other names, convert it with --classes FILE, which has theirs")


@app.command()
def nets(
    net: Annotated[str | None, typer.Argument(help="One net: its options, facts and file.")] = None,
    as_json: Json = False,
) -> None:
    """List the nets with the facts that tests hold them to, or show one net with its options.

    Examples: plusx nets; plusx nets resnet50
    """
    if net is not None:
        _one_net(plusx.entry(net), as_json)
        return
    entries = [plusx.entry(name) for name in plusx.names()]
    if as_json:
        keys = ("name", "paper", "table", "layers", "params", "macs", "input_shape", "num_classes", "top1_error")
        rows = [{key: getattr(entry, key) for key in (*keys, "top1_source")} for entry in entries]
        _print_json({"nets": [{"net": row.pop("name"), **row} for row in rows]})
        return
    head = ("net", "layers", "parameters", "MACs", "input", "error")
    lines = [
        (
            e.name,
            str(e.layers),
            f"{e.params:,}",
            f"{e.macs:,}",
            _by(e.input_shape).replace(" ", ""),
            "" if e.top1_error is None else _pct(e.top1_error),
        )
        for e in entries
    ]
    columns, left_out = _fitting(list(zip(head, *lines, strict=True)), ["input", "layers", "MACs"], between=2)
    head, *lines = zip(*columns, strict=True)
    widths = [max(map(len, column)) for column in columns]
    sources = [f"{e.paper}, {e.table}" for e in entries]
    for before, source, cells in zip(["", "", *sources], ["", *sources], [head, *lines], strict=False):
        if source != before:  # a heading, because a column of its own is too wide for a terminal
            print(f"\n{_filled(source)}")
        row = (f"{c:{'>' if i else '<'}{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        print("  ".join(row).rstrip())
    print()
    if left_out:
        print(left_out)
    print(_filled("error: top-1, as published; `plusx nets NAME` says where, and which options a net has"))


def _one_net(entry: "Entry", as_json: bool) -> None:
    code = inspect.unwrap(entry.function)
    where = f"{inspect.getsourcefile(code)}:{inspect.getsourcelines(code)[1]}"
    facts = {
        "paper": entry.paper,
        "table": entry.table,
        "layers": entry.layers,
        "params": entry.params,
        "macs": entry.macs,
        "input_shape": entry.input_shape,
        "num_classes": entry.num_classes,
        "top1_error": entry.top1_error,
        "top1_source": entry.top1_source,
    }
    if as_json:
        options = [asdict(option) for option in entry.options]
        _print_json({"net": entry.name, "about": entry.summary, **facts, "options": options, "file": where})
        return
    print(f"{entry.name}\n{_filled(entry.summary)}\n")
    lines = {
        "paper": f"{entry.paper}, {entry.table}",
        "layers": f"{entry.layers}",
        "parameters": f"{entry.params:,}",
        "MACs": f"{entry.macs:,} an image",
        "input": f"{_by(entry.input_shape)}, {entry.num_classes:,} classes",
        "error": "" if entry.top1_error is None else f"{_pct(entry.top1_error)} top-1: {entry.top1_source}",
        "file": where,
    }
    for title, text in lines.items():
        if text:
            print(_filled(f"{title:<12}{text}", 12))
    print("\nOptions")
    for option in entry.options:
        _print_field(f"{option.name}={_as_text(option.default)}", option.sentence, list(map(_as_text, option.choices)))
    chosen = next((o for o in entry.options if o.choices and o.default in o.choices), entry.options[0])
    other = next((c for c in chosen.choices if c != chosen.default), chosen.default)
    print(f"\nplusx summary {entry.name} --set {chosen.name}={_as_text(other)}")
    print(f"plusx train DATA --set net.name={entry.name} --set net.options.{chosen.name}={_as_text(other)}")


@app.command()
def recipes(
    recipe: Annotated[str | None, typer.Argument(help="One recipe: every field, as --set takes it.")] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show every field of one with its value and what it means.

    A part that is set by name brings its own fields: plusx recipes digits --set optim=AdamW

    Examples: plusx recipes; plusx recipes digits
    """
    if recipe is not None:
        _one_recipe(plusx.recipe_entry(recipe), _pairs(settings), as_json)
        return
    if settings:
        raise ValueError("--set changes one recipe; name it: plusx recipes NAME --set KEY=VALUE")
    entries = [plusx.recipe_entry(name) for name in plusx.recipe_names()]
    if as_json:
        _print_json({"recipes": [_recipe_facts(entry) for entry in entries]})
        return
    for entry in entries:
        facts = f"{entry.recipe.net.name}, {_length(entry.recipe)}, {entry.recipe.batch_size:,} images a step"
        print(_filled(f"{entry.name}: {facts}", 4))
        print(_filled(f"    {entry.summary}", 4))
        print(f"    {entry.run}")  # not filled: what is copied must be one line
    print("\n`plusx recipes NAME` shows every field")


def _one_recipe(entry: "RecipeEntry", overrides: dict[str, str], as_json: bool) -> None:
    found = plusx.settings(entry.recipe, overrides)
    if as_json:
        each = [
            {
                "key": s.key,
                "value": s.value if isinstance(s.value, str | int | float | None) else s.text,
                "about": s.sentence,
                "choices": s.choices,
            }
            for s in found
        ]
        _print_json({**_recipe_facts(entry), "settings": each})
        return
    print(entry.name)
    for paragraph in entry.about.splitlines():
        print(f"{_filled(paragraph)}\n")
    for setting in found:
        one_by_one = isinstance(setting.value, Mapping)
        sentence = (
            f"{setting.sentence} `plusx nets {entry.recipe.net.name}` has all." if one_by_one else setting.sentence
        )
        named = f"{setting.key}.NAME=VALUE" if one_by_one else f"{setting.key}={setting.text}"
        several = "Any of" if isinstance(setting.value, tuple) else "One of"
        _print_field(named, sentence, setting.choices, several)
    rate = next(s for s in found if s.key == "optim.lr")
    print(f"\n{entry.run} --set optim.lr={rate.value / 2:g}")


def _recipe_facts(entry: "RecipeEntry") -> dict[str, Any]:
    recipe = entry.recipe
    return {
        "recipe": entry.name,
        "data": entry.data,
        "net": recipe.net.name,
        "steps": recipe.steps,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "about": entry.about,
        "run": entry.run,
    }


def _length(recipe: "Recipe") -> str:
    return f"{recipe.steps:,} steps" if recipe.steps is not None else f"{recipe.epochs:g} epochs"


@app.command()
def summary(
    nets: Annotated[list[str], typer.Argument(metavar="NET|RUN...", help="Catalog names or run directories.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Builder option, such as shortcut=C.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels; the net's own if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a net costs, layer by layer and in all, before it is trained; several nets are compared.

    Output shapes, parameters, MACs, FLOPs, receptive fields, activations, what training keeps for the backward pass,
    and bytes on disk; the rule of each count is printed below. An option goes to the nets that have it.

    Examples: plusx summary resnet50 --set stride_on=1x1; plusx summary plain34 resnet34
    """
    with watching("counting", quiet=as_json):
        found = plusx.compare(nets, options=_options(settings), size=size)
    costs = [cost for _, cost in found]
    rule = costs[0].rule
    if as_json:
        each = [{"net": name, **asdict(cost)} for name, cost in found]
        _print_json({**each[0], "rule": rule} if len(each) == 1 else {"nets": each, "rule": rule})
        return
    if len(costs) == 1:
        head = ["layer", "kind", "output", "parameters", "MACs", "FLOPs", "field (px)", "activations", "saved bytes"]
        rows = [
            [
                x.name,
                x.kind,
                _by(x.output_shape),
                f"{x.params:,}",
                f"{x.macs:,}",
                f"{x.flops:,}",
                "-" if x.output_shape is None else f"{x.receptive_field or 'all'}",
                f"{x.activation_values:,}",
                f"{x.saved_bytes:,}",
            ]
            for x in costs[0].layers
        ]
        shape = costs[0].input_shape
        first = ["input", "", _by(shape), "", "", "", "1", f"{prod(shape):,}", ""]
        _print_table(head, [first, *rows], spare=["FLOPs", "kind", "saved bytes", "activations", "field (px)"])
    lines: dict[str, list[int | str]] = {
        "input": [_by(c.input_shape) for c in costs],
        "parameters": [c.params for c in costs],
        "fully connected": [f"{100 * c.linear_params / c.params:.1f} %" for c in costs],
        "largest matrix": [c.largest_matrix for c in costs],
        "MACs": [c.macs for c in costs],
        "FLOPs": [c.flops for c in costs],
        "activation values": [c.activation_values for c in costs],
        "activation bytes": [c.activation_bytes for c in costs],
        "saved bytes, an image": [c.saved_bytes for c in costs],
        "saved bytes, a batch": [c.saved_bytes_per_batch for c in costs],
        "bytes on disk": [c.disk_bytes for c in costs],
        "receptive field (px)": [c.receptive_field or "all" for c in costs],
    }
    column = max(15, *map(len, nets)) + 3
    beside = max(1, (_width() - 23 - column) // (column + 8))  # nets that a table holds beside the first
    for start in range(1, max(2, len(nets)), beside):
        shown = range(start, min(start + beside, len(nets)))
        titles = [title for index in shown for title in (nets[index], "ratio")]
        table = [_against_first(line, [values[0], *(values[i] for i in shown)]) for line, values in lines.items()]
        _print_table(["", nets[0], *titles], table)
    for sentence in rule.splitlines():
        print(_filled(sentence, 2))


def _against_first(title: str, values: Sequence[int | str]) -> list[str]:
    """A line of a comparison: the first value, then each other one and its ratio to the first."""
    first, *others = values
    cells = [title, f"{first:,}" if isinstance(first, int) else first]
    for value in others:
        cells.append(f"{value:,}" if isinstance(value, int) else value)
        cells.append(f"{value / first:.2f}" if isinstance(value, int) and isinstance(first, int) and first else "")
    return cells


def _as_text(value: Any) -> str:
    """A builder's option as `--set` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _by(shape: Sequence[int] | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape))


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Folder of class folders.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read every image of a folder once; say what is left out, and why. Exit code 2 if an image cannot be read.

    Example: plusx data check ./photos
    """
    with watching("checking", quiet=quiet, unit="files") as watch:
        found = plusx.check(folder, on_progress=watch)
    if as_json:
        _print_json(
            {
                "folder": str(folder),
                "total": found.files,
                "images": found.images,
                "splits": found.counts,
                "assigned": found.assigned,
                "files": [{"file": each.path, "error": each.reason} for each in found.faults],
                "left_out": [{"file": each.path, "reason": each.reason} for each in found.left_out],
                "reasons": {reason: len(its) for reason, its in found.by_reason.items()},
                "copies": {"classes": found.same_image_in_classes, "splits": found.same_image_in_splits},
                "unused": found.unused,
                "notes": found.notes,
                "problem": found.problem,
            }
        )
    else:
        classes = sorted({name for tally in found.counts.values() for name in tally})
        rows = [[name, *(f"{tally.get(name, 0):,}" for tally in found.counts.values())] for name in classes]
        _print_table(["class", *found.counts], rows)
        print("\n".join(_check_lines(found)))
    if found.problem:
        raise ValueError(found.problem)
    if found.faults:
        raise ValueError(
            f"{len(found.faults):,} of {found.files:,} files in {folder} cannot be read; repair or remove them, or "
            "train without: --set data.undecodable=skip"
        )


def _check_lines(found: "Check") -> Iterator[str]:
    """What `data check` says below its table; long lists are cut, and --json has all."""
    shown = 10
    for reason, its in found.by_reason.items():
        yield f"{len(its):,} left out, {reason}:"
        yield from (f"  {each.path}{each.reason.removeprefix(reason)}" for each in its[:shown])
        yield from [f"  ... and {len(its) - shown:,} more"] * (len(its) > shown)
    for what, groups in (
        ("several classes, so that at most one label of each is right", found.same_image_in_classes),
        ("several splits", found.same_image_in_splits),
    ):
        if groups:
            yield f"{len(groups):,} of equal content in {what}:"
            yield from (f"  {', '.join(paths[:shown])}" for paths in groups[:shown])
            yield from [f"  ... and {len(groups) - shown:,} more"] * (len(groups) > shown)
    if found.unused:
        yield f"not used: {', '.join(f'{name}/' for name in found.unused)}"
    yield from found.notes
    of = {"train": "to train on", "val": "for validation", "test": "for test"}
    yield f"{found.files:,} files: {found.images:,} images, {len(found.left_out):,} left out"
    if not found.problem:
        yield ", ".join(f"{count:,} {of[split]}" for split, count in found.assigned.items() if count)
    if not found.problem and not found.faults:
        yield f"all {found.images:,} images can be read"


@benchmark_app.command("train")
def benchmark_train(
    net: Annotated[str, typer.Option(help="Catalog name.")] = "resnet20",
    batch: Annotated[int, typer.Option(help="Images a step.")] = 128,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 10,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time whole training steps beside the same net in plain PyTorch (eager, fp32), in one interleaved run.

    Example: plusx benchmark train --net resnet20 --batch 128
    """
    with watching(f"{net}, batch {batch}", quiet=quiet, unit="rounds") as watch:
        speed = plusx.benchmark_training(net, batch_size=batch, rounds=rounds, watch=watch)
    if as_json:
        _print_json({"batch": speed.batch_size, **asdict(speed)})
        return
    low, high = speed.ratio_range
    _print_table(
        ["", "images/s", "ratio"],
        [
            [f"plain PyTorch ({speed.device}, eager, fp32)", f"{speed.eager_fp32_images_per_s:,.0f}", "1.00"],
            [
                f"plusx ({speed.device}, {speed.placement.precision}, {speed.placement.layout})",
                f"{speed.images_per_s:,.0f}",
                f"{speed.ratio_to_eager_fp32:.2f} ({low:.2f} to {high:.2f})",
            ],
        ],
    )
    print(f"medians of {rounds} rounds; making the batch took {100 * speed.data_share:.1f} % of our step")


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} is {text!r}; write one number a channel, such as 0.485,0.456,0.406") from None


def _pairs(settings: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {setting!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


def _options(settings: Sequence[str] | None) -> dict[str, Any]:
    return {key: plusx.option_value(text) for key, text in _pairs(settings).items()}


@contextmanager
def _stoppable(typed: str | None = None) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask training to stop after its step, with a resume point; a second Ctrl-C ends it at once.

    Args:
        typed: The command that resumes it; the message of `StoppedError` has one if not given.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    except ValueError as fault:
        if not asked:
            raise
        known = typed and isinstance(fault, plusx.StoppedError)
        print(f"plusx: {f'{fault.args[0]}; resume with: {typed}' if known else fault}", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        if typed is None:
            raise
        print(f"plusx: interrupted; resume with: {typed}", file=sys.stderr)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _filled(text: str, indent: int = 0) -> str:
    """Text in lines of the terminal's width, but no longer than is read with ease."""
    return textwrap.fill(
        text, min(_width(), 100), subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )


def _print_field(setting: str, sentence: str, choices: Sequence[str], several: str = "One of") -> None:
    """A field as it is set, and below it what it means and may be."""
    print(setting)
    others = f" {several} {', '.join(choices)}." if choices and set(choices) != {"true", "false"} else ""
    if about := f"{sentence}{others}".strip():
        print(_filled(f"    {about}", 4))


def _pct(share: float) -> str:
    return f"{100 * share:.2f} %"


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, ensure_ascii=False))


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Aligned columns; the first to the left, numbers to the right.

    Where a terminal is too narrow, the columns named in `spare` give way, the first of them first.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns, left_out = _fitting(list(zip(head, *rows, strict=True)), spare, between=3)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, (title, *cells) in enumerate(columns):  # a head may take several lines, a cell where nothing else helps
        wide = max(map(len, cells), default=0)
        table.add_column(title, justify="left" if index == 0 else "right", min_width=wide, overflow="fold")
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*row)
    Console(width=_width(), height=25, markup=False).print(table)  # without a height, rich may not take the width
    if left_out:
        print(f"{left_out}\n")


def _fitting(
    columns: list[tuple[str, ...]], spare: Sequence[str], *, between: int
) -> tuple[list[tuple[str, ...]], str]:
    """The columns that a terminal has room for, and a sentence on those that it has not."""
    left_out = []
    for title in spare:
        if sum(max(map(len, column)) + between for column in columns) - 1 > _width():
            columns = [column for column in columns if column[0] != title]
            left_out.append(title)
    note = f"The terminal is too narrow for {', '.join(left_out)}; a pipe or --json shows all."
    return columns, _filled(note) if left_out else ""


def _width() -> int:
    """Characters in a line; off a terminal nothing is cut off."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
