"""`plusx convert`."""

import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet, parse_numbers, parse_options
from plusx.cli.tables import print_json, width


def convert(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A checkpoint file, torchvision:IMAGENET1K_V1, or timm/resnet50.a1_in1k."
        ),
    ],
    net: Annotated[
        str | None, typer.Option(help="Name of the net; not needed for timm's weights, whose names contain it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New run directory; by default, a free name under runs/.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="Option of the net, such as shortcut=C. padding=behind or padding=both says where option "
            "A pads with zeros.",
        ),
    ] = None,
    entry: Annotated[str | None, typer.Option(help="Which entry of the file to take, such as model_ema.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Take only the tensors whose names begin with this, such as teacher.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="cifar10 or cifar100, if the net was trained on it; supplies the class names and the "
            "images to evaluate on."
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="File with one class name per line, in the order of the last layer; or imagenet, for its "
            "1,000 classes."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input in pixels.")] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Mean of pixels / 255, one number a channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="Deviation of pixels / 255, one a channel.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download published weights if they are not in the cache.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Convert other people's weights to a run directory. Every command accepts it like a run that was trained here.

    The layouts of torchvision, timm, akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar are recognised, and
    the normalisation of images that belongs to each is used; --size, --mean and --std override it. No code in a file is
    ever run.

    Some properties of a net leave no trace in its tensors: which convolution of a bottleneck has the stride (--set
    stride_on=1x1 if it is not the 3x3), dilation, the epsilon of batch norm, the activation (--set activation=silu) and
    blurred pooling. If a net differs in one of these, it is converted without an error but predicts wrongly, so
    evaluate it.

    \b
    Examples:
      plusx convert resnet20-12fca82f.th --net resnet20 --data cifar10
      plusx convert torchvision:IMAGENET1K_V1 --net resnet50 --download
    """
    made = plusx.convert(
        weights,
        net,
        out=out,
        options=parse_options(settings),
        entry=entry,
        prefix=prefix,
        data=data,
        classes=classes,
        size=size,
        mean=parse_numbers("--mean", mean),
        std=parse_numbers("--std", std),
        download=download,
        progress=sys.stderr.isatty() and not quiet,
    )
    names, results = made.translation, made.card.results
    if as_json:
        tensors = {
            "matched": names.matched,
            "renamed": names.renamed,
            "dropped": names.dropped,
            "missing": names.missing,
        }
        paths = {"run": str(made.run), "file": str(made.file), "others": made.others, "notes": made.card.notes}
        print_json({**results, **paths, "preprocess": made.preprocess_in_words, **tensors})
        return
    renamed = [f"{theirs} -> {ours}" for theirs, ours in names.renamed.items()]
    missing = [name for name in names.missing if not name.endswith("num_batches_tracked")]
    if counters := len(names.missing) - len(missing):
        missing.append(f"{counters} counters of batch norm, which change nothing")
    class_names = made.card.class_names
    taken = f", entry {made.entry} of the file" if made.entry else ""
    also = f" (--entry chooses another: {', '.join(made.others)})" if made.others else ""
    off = f", without the prefix {names.prefix}" if names.prefix else ""
    dropped = [*names.dropped[:3], *["... (--json has all)"] * (len(names.dropped) > 3)]
    lines = {
        "layout": f"{names.source}{taken}{also}{off}",
        f"matched {len(names.matched):,}": "",
        f"renamed {len(names.renamed):,}": ", ".join(renamed[:3] + ["... (--json has all)"] * (len(renamed) > 3)),
        f"dropped {len(names.dropped):,}": ", ".join(dropped),
        f"missing {len(names.missing):,}": ", ".join(missing),
        "input": made.preprocess_in_words,
        "classes": f"{len(class_names):,}: {', '.join(class_names[:3])}{', ...' if class_names[3:] else ''}",
        "run": f"{made.run}: {results['net']}, {results['params']:,} parameters",
    }
    indent = max(map(len, lines)) + 2
    for title, text in lines.items():
        line = f"{title:<{indent}}{text}".rstrip()
        print(textwrap.fill(line, min(width(), 120), subsequent_indent=" " * indent, break_on_hyphens=False))
    for note in made.card.notes:
        print(textwrap.fill(f"note: {note}", min(width(), 120), subsequent_indent="  ", break_on_hyphens=False))
    if made.card.source["name"]:
        print(f"next: plusx evaluate {made.run} --data-dir DIR")
        return
    print(f"next: plusx predict {made.run} IMAGE")
    print("to evaluate it on class folders with other names, convert it with --classes FILE, which lists them")
