"""`plusx benchmark train`."""

from dataclasses import asdict
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.tables import print_json, print_table
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
