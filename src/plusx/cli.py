"""The command line: a verb parses, calls one function of the API, prints.

Results go to standard output, progress and faults to standard error. With --json the last line of standard output is
one JSON object. Exit code 0 is success, 2 a user's mistake in one sentence, 130 an interrupt. Importing this module
does not import torch: `plusx --help` answers at once.
"""

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.screen import watching

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Residual networks and the convolutional networks before and after them: y = F(x) + x.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training on it.")
benchmark_app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine, beside plain PyTorch.")
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field; repeatable.")]
DataDir = Annotated[
    Path, typer.Option(envvar="PLUSX_DATA", help="Folder in which CIFAR lies, and to which --download brings it.")
]
DATA_DIR = Path("~/.cache/plusx")


def main() -> None:
    """Run the command line. A fault that a user can cause becomes one sentence and exit code 2."""
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
    out: Annotated[Path | None, typer.Option(help="New folder for the four runs and report.html.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """See that deeper plain nets train worse and residual nets do not: four nets on real digits, in about a minute.

    Example: plusx demo
    """
    with _stoppable() as should_stop, watching("demo", quiet=quiet) as watch:
        found = plusx.degradation(out, seed=seed, watch=watch.event, should_stop=should_stop)
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
    print("\n" + "\n".join(found.findings) + f"\n\nCurves: {found.report}")


@app.command()
def train(
    data: Annotated[str | None, typer.Argument(help="digits, cifar10, cifar100, or a folder of class folders.")] = None,
    recipe: Annotated[str | None, typer.Option(help="digits, cifar10-quick, cifar10-paper, folder, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="New run directory; a free name under runs/ if not given.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
    settings: Settings = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a stopped or killed run.")] = None,
    data_dir: DataDir = DATA_DIR,
    download: Annotated[bool, typer.Option("--download", help="Fetch CIFAR from its official address.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a net and leave a run directory.

    Examples: plusx train digits; plusx train ./photos --set epochs=20; plusx train --resume runs/digits-resnet20-seed0
    """
    if resume is not None and (data, recipe, out, seed, settings) != (None, None, None, None, None):
        raise ValueError("--resume goes on with the run as it is; leave DATA, --recipe, --out, --seed and --set away")
    if resume is None and data is None:
        raise ValueError("name the data: digits, cifar10, cifar100 or a folder of class folders; or --resume RUN")
    title = str(resume or data)
    with _stoppable() as should_stop, watching(title, quiet=quiet) as watch:
        common: dict[str, Any] = {
            "watch": watch.event,
            "on_scan": watch.count,
            "should_stop": should_stop,
        }
        if resume is not None:
            trained = plusx.resume(resume, data_dir=_given(data_dir), **common)
        else:
            assert data is not None
            given: dict[str, Any] = {"recipe": recipe, "out": out, "seed": seed, "overrides": _pairs(settings)}
            trained = plusx.train(data, data_dir=data_dir, download=download, **given, **common)
    results = trained.card.results
    if as_json:
        _print_json({"run": str(trained.run), "recipe": trained.card.recipe.name, **results})
        return
    errors = [
        f"{part} error {_pct(results[f'{part}_error'])}"
        for part in ("train", "val", "test")
        if f"{part}_error" in results
    ]
    print(f"{results['net']} after {results['steps']:,} steps: {', '.join(errors)}")
    print(f"{results['images_per_s']:,.0f} images/s, {results['seconds']:.0f} s; report: {trained.run / 'report.html'}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    data: Annotated[
        str | None, typer.Argument(help="Folder of class folders; the run's own images if not given.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a trained net; every image counts once.

    Example: plusx evaluate runs/digits-resnet20-seed0
    """
    with watching("reading", quiet=quiet) as watch:
        found = plusx.evaluate(run, data, data_dir=_given(data_dir), on_scan=watch.count)
    if as_json:
        part = found.part if found.part in ("train", "val") else "test"
        _print_json(
            {
                "run": str(run),
                "data": found.part,
                "images": found.images,
                f"{part}_error": found.error,
                f"{part}_accuracy": found.accuracy,
                f"{part}_loss": found.loss,
            }
        )
        return
    print(f"{found.part}: error {_pct(found.error)} on {found.images:,} images, cross entropy {found.loss:.4f} nats")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 5,
    as_json: Json = False,
) -> None:
    """Name what is on pictures. Unreadable files are named at the end; the others are answered all the same.

    Example: plusx predict runs/photos-resnet18-seed0 cat.jpg dog.jpg
    """
    predictor = plusx.Predictor(run)
    answers, faults = [], []
    for image in images:
        try:
            answers.append(predictor.predict(image, top_k=top))
        except ValueError as fault:
            faults.append((image, str(fault)))
    if as_json:
        bad = [{"file": image, "error": fault} for image, fault in faults]
        _print_json({"run": str(run), "files": [asdict(answer) for answer in answers] + bad})
    else:
        for answer in answers:
            shares = [f"{name} {100 * p:.1f} %" for name, p in zip(answer.classes, answer.probabilities, strict=True)]
            print(f"{answer.file}: {', '.join(shares)}")
    if faults:
        raise ValueError("; ".join(fault for _, fault in faults))


@app.command()
def nets(as_json: Json = False) -> None:
    """List the nets with the facts that tests hold them to.

    Example: plusx nets
    """
    entries = [plusx.entry(name) for name in plusx.names()]
    if as_json:
        keys = ("name", "paper", "table", "layers", "params", "macs", "input_shape", "num_classes", "top1_error")
        rows = [{key: getattr(entry, key) for key in (*keys, "top1_source")} for entry in entries]
        _print_json({"nets": [{"net": row.pop("name"), **row} for row in rows]})
        return
    _print_table(
        ["net", "layers", "parameters", "MACs", "input", "published error", "paper"],
        [
            [
                e.name,
                str(e.layers),
                f"{e.params:,}",
                f"{e.macs:,}",
                " x ".join(map(str, e.input_shape)),
                "" if e.top1_error is None else _pct(e.top1_error),
                f"{e.paper}, {e.table}",
            ]
            for e in entries
        ],
    )


@app.command()
def summary(
    net: Annotated[str, typer.Argument(metavar="NET|RUN", help="Catalog name or run directory.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Builder option, such as shortcut=C.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels; the net's own if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every layer: output shape, parameters, MACs, and bytes of activations, for one image in fp32.

    A MAC is one product and one sum of a convolution or a linear layer; FLOPs are twice that.

    Example: plusx summary resnet50 --set stride_on=1x1
    """
    name, cost = plusx.summarise(net, options=_pairs(settings), size=size)
    if as_json:
        _print_json(
            {
                "net": name,
                "params": cost.params,
                "macs": cost.macs,
                "activation_bytes": cost.activation_bytes,
                "layers": [asdict(layer) for layer in cost.layers],
            }
        )
        return
    rows = [
        [
            x.name,
            x.kind,
            " x ".join(map(str, x.output_shape)),
            f"{x.params:,}",
            f"{x.macs:,}",
            f"{x.activation_bytes:,}",
        ]
        for x in cost.layers
    ]
    total = ["total", name, "", f"{cost.params:,}", f"{cost.macs:,}", f"{cost.activation_bytes:,}"]
    _print_table(["layer", "kind", "output", "parameters", "MACs", "activation bytes"], [*rows, total])


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Folder of class folders.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read every picture of a folder once; name each that cannot be decoded, and why. Exit code 2 if there is one.

    Example: plusx data check ./photos
    """
    with watching("checking", quiet=quiet) as watch:
        found = plusx.check(folder, on_progress=watch.count)
    if as_json:
        _print_json(
            {
                "folder": str(folder),
                "images": found.images,
                "splits": found.counts,
                "files": [{"file": file, "error": reason} for file, reason in found.faults],
                "ignored": list(found.ignored),
                "problem": found.problem,
            }
        )
    else:
        classes = sorted({name for tally in found.counts.values() for name in tally})
        rows = [[name, *(f"{tally.get(name, 0):,}" for tally in found.counts.values())] for name in classes]
        _print_table(["class", *found.counts], rows)
        for file, reason in found.faults:
            print(f"{file}: {reason}")
        if found.ignored:
            print(f"{len(found.ignored)} files are not images by their name, such as {found.ignored[0]}")
    if found.problem:
        raise ValueError(found.problem)
    if found.faults:
        raise ValueError(f"{len(found.faults)} of {found.images:,} files in {folder} cannot be decoded")
    if not as_json:
        print(f"all {found.images:,} pictures can be read")


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
    with watching(f"{net}, batch {batch}", quiet=quiet) as watch:
        speed = plusx.benchmark_training(net, batch_size=batch, rounds=rounds, watch=watch.count)
    if as_json:
        _print_json({"batch": speed.batch_size, **asdict(speed)})
        return
    low, high = speed.ratio_range
    _print_table(
        ["", "images/s", "ratio"],
        [
            ["plain PyTorch (eager, fp32)", f"{speed.eager_fp32_images_per_s:,.0f}", "1.00"],
            [
                f"plusx ({speed.placement.precision}, {speed.placement.layout})",
                f"{speed.images_per_s:,.0f}",
                f"{speed.ratio_to_eager_fp32:.2f} ({low:.2f} to {high:.2f})",
            ],
        ],
    )
    print(f"medians of {rounds} rounds; making the batch took {100 * speed.data_share:.1f} % of our step")


def _given(data_dir: Path) -> Path | None:
    """None for the default: a run knows where its images lay."""
    return None if data_dir == DATA_DIR else data_dir


def _pairs(settings: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {setting!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask training to stop after its step, with a resume point; a second Ctrl-C ends it at once."""
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
        print(f"plusx: {fault}", file=sys.stderr)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pct(share: float) -> str:
    return f"{100 * share:.2f} %"


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, ensure_ascii=False))


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; the first to the left, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(head):
        table.add_column(title, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
