"""`plusx benchmark train` and `plusx benchmark inference`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet, RunData, TrustCode
from plusx.cli.tables import filled, per_cent, print_json, print_table
from plusx.progress import watching


def benchmark_train(
    net: Annotated[str, typer.Option(help="Name of a net.")] = "resnet20",
    batch: Annotated[int, typer.Option(help="Images per step.")] = 128,
    rounds: Annotated[int, typer.Option(help="Number of alternating rounds.")] = 10,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare training speed with plain PyTorch. Both train the same net in alternating rounds; PyTorch runs in eager
    mode in fp32.

    \b
    Example:
      plusx benchmark train --net resnet20 --batch 128
    """
    with watching(f"{net}, batch {batch}", quiet=quiet, unit="rounds") as bar:
        speed = plusx.benchmark_training(net, batch_size=batch, rounds=rounds, progress=bar)
    if as_json:
        print_json({"batch": speed.batch_size, **asdict(speed)})
        return
    low, high = speed.ratio_range
    print_table(
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


def benchmark_inference(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    batch: Annotated[int, typer.Option(help="Images of a call, for the throughput.")] = 32,
    rounds: Annotated[int, typer.Option(help="Number of alternating rounds.")] = 5,
    data_dir: RunData = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare the speed of all forms of a run. They are plusx itself, and what `plusx export` makes for ONNX Runtime,
    OpenVINO and PyTorch, also in int8. Each has a process of its own; all are measured in alternating rounds.

    \b
    Example:
      plusx benchmark inference runs/photos-resnet18-seed0
    """
    how: dict[str, Any] = {"data_dir": data_dir, "trust_code": trust_code}
    with watching(f"{run.name}, batch {batch}", quiet=quiet, unit="measurements") as bar:
        speed = plusx.benchmark_inference(run, batch_size=batch, rounds=rounds, progress=bar, **how)
    if as_json:
        print_json({"batch": speed.batch_size, **asdict(speed), "run": str(run)})
        return
    head = ["form", "p50 ms", "p99 ms", "images/s", "accuracy", "MB", "load s", "memory MB"]
    rows = []
    for name, found in speed.forms.items():
        title = name if found.precision in name else f"{name}, {found.precision}"
        known = "" if found.accuracy is None else per_cent(found.accuracy)
        times = [f"{1e3 * seconds:.2f}" for seconds in (found.p50_seconds, found.p99_seconds)]
        sizes = [f"{found.size_bytes / 2**20:.1f}", f"{found.load_seconds:.2f}", f"{found.memory_bytes / 2**20:.0f}"]
        rows.append([title, *times, f"{found.images_per_s.median:,.0f}", known, *sizes])
    print_table(head, rows, spare=["memory MB", "load s", "MB", "p99 ms"])
    print(
        filled(
            f"times of one image; images/s at batch {batch}, the median of {rounds} rounds; accuracy on "
            f"{speed.images:,} images of {speed.source}; memory that loading and computing adds"
        )
    )
    for name, reason in speed.left_out.items():
        print(filled(f"left out: {name}: {reason}", 2))
