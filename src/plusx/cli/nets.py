"""`plusx nets` and `plusx summary`: which nets there are, and what they cost."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, TrustCode, parse_options
from plusx.cli.tables import filled, fitting, per_cent, print_field, print_json, print_table, width
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.nets import Entry


def nets(
    net: Annotated[str | None, typer.Argument(help="Show this net: its facts, options and source file.")] = None,
    as_json: Json = False,
) -> None:
    """List the nets, or show one of them. The list shows the facts of every net; a single net is shown with its options
    as well.

    \b
    Examples:
      plusx nets
      plusx nets resnet50
    """
    if net is not None:
        _print_net(plusx.describe_net(net), as_json)
        return
    entries = [plusx.describe_net(name) for name in plusx.list_nets()]
    if as_json:
        keys = ("name", "paper", "table", "layers", "params", "macs", "input_shape", "num_classes", "top1_error")
        rows = [{key: getattr(entry, key) for key in (*keys, "top1_source")} for entry in entries]
        print_json({"nets": [{"net": row.pop("name"), **row} for row in rows]})
        return
    head = ("net", "layers", "parameters", "MACs", "input", "error")
    lines = [
        (
            e.name,
            str(e.layers),
            f"{e.params:,}",
            f"{e.macs:,}",
            _by(e.input_shape).replace(" ", ""),
            "" if e.top1_error is None else per_cent(e.top1_error),
        )
        for e in entries
    ]
    columns, left_out = fitting(list(zip(head, *lines, strict=True)), ["input", "layers", "MACs"], between=2)
    head, *lines = zip(*columns, strict=True)
    widths = [max(map(len, column)) for column in columns]
    sources = [f"{e.paper}, {e.table}" for e in entries]
    for before, source, cells in zip(["", "", *sources], ["", *sources], [head, *lines], strict=False):
        if source != before:  # a heading, because a column of its own is too wide for a terminal
            print(f"\n{filled(source)}")
        row = (f"{c:{'>' if i else '<'}{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        print("  ".join(row).rstrip())
    print()
    if left_out:
        print(left_out)
    print(filled("error: top-1, as published. `plusx nets NAME` shows the source and the net's options."))


def _print_net(entry: "Entry", as_json: bool) -> None:
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
        print_json({"net": entry.name, "about": entry.summary, **facts, "options": options, "file": where})
        return
    print(f"{entry.name}\n{filled(entry.summary)}\n")
    lines = {
        "paper": f"{entry.paper}, {entry.table}",
        "layers": f"{entry.layers}",
        "parameters": f"{entry.params:,}",
        "MACs": f"{entry.macs:,} an image",
        "input": f"{_by(entry.input_shape)}, {entry.num_classes:,} classes",
        "error": "" if entry.top1_error is None else f"{per_cent(entry.top1_error)} top-1: {entry.top1_source}",
        "file": where,
    }
    for title, text in lines.items():
        if text:
            print(filled(f"{title:<12}{text}", 12))
    print("\nOptions")
    for option in entry.options:
        print_field(f"{option.name}={_as_text(option.default)}", option.sentence, list(map(_as_text, option.choices)))
    chosen = next((o for o in entry.options if o.choices and o.default in o.choices), entry.options[0])
    other = next((c for c in chosen.choices if c != chosen.default), chosen.default)
    print(f"\nplusx summary {entry.name} --set {chosen.name}={_as_text(other)}")
    print(f"plusx train DATA --set net.name={entry.name} --set net.options.{chosen.name}={_as_text(other)}")


def summary(
    nets: Annotated[list[str], typer.Argument(metavar="NET|RUN...", help="Names of nets, or run directories.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Option of the nets, such as shortcut=C.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels; by default, the net's own.")
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Show what nets cost before training. A single net is shown layer by layer with totals; several nets are compared.

    The columns are output shape, parameters, MACs, FLOPs, receptive field, activations, memory kept for the backward
    pass and bytes on disk; the rule of each count is printed below. --set applies to the nets that have the option.

    \b
    Examples:
      plusx summary resnet50 --set stride_on=1x1
      plusx summary plain34 resnet34
    """
    with watching("counting", quiet=as_json):
        compared = plusx.compare(nets, options=parse_options(settings), size=size, trust_code=trust_code)
    costs = [cost for _, cost in compared]
    rule = costs[0].rule
    if as_json:
        each = [{"net": name, **asdict(cost)} for name, cost in compared]
        print_json({**each[0], "rule": rule} if len(each) == 1 else {"nets": each, "rule": rule})
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
        print_table(head, [first, *rows], spare=["FLOPs", "kind", "saved bytes", "activations", "field (px)"])
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
    beside = max(1, (width() - 23 - column) // (column + 8))  # nets that a table holds beside the first
    for start in range(1, max(2, len(nets)), beside):
        shown = range(start, min(start + beside, len(nets)))
        titles = [title for index in shown for title in (nets[index], "ratio")]
        table = [_against_first(line, [values[0], *(values[i] for i in shown)]) for line, values in lines.items()]
        print_table(["", nets[0], *titles], table)
    for sentence in rule.splitlines():
        print(filled(sentence, 2))


def _against_first(title: str, values: Sequence[int | str]) -> list[str]:
    """A line of a comparison: the first value, then each other one and its ratio to the first."""
    first, *others = values
    cells = [title, f"{first:,}" if isinstance(first, int) else first]
    for value in others:
        cells.append(f"{value:,}" if isinstance(value, int) else value)
        cells.append(f"{value / first:.2f}" if isinstance(value, int) and isinstance(first, int) and first else "")
    return cells


def _as_text(value: Any) -> str:
    """The value of a net's option as `--set` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _by(shape: Sequence[int] | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape))
