"""Options that several verbs take, and the values that are written as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, on the last line of stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Hide the progress bar.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one field of the recipe; can be repeated."),
]
RunData = Annotated[
    Path | None, typer.Option(help="Folder that now contains the run's own images, if they have moved.")
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run the code that a run has whose net is not of plusx: the run's copy of a file."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps; it may differ from the device of training.")]


def parse_settings(settings: Sequence[str] | None) -> dict[str, str]:
    """The values of --set, as text."""
    values = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {setting!r} is not KEY=VALUE")
        values[key] = value
    return values


def parse_options(settings: Sequence[str] | None) -> dict[str, Any]:
    """The values of --set where it sets options of a net."""
    return {key: plusx.parse_option(text) for key, text in parse_settings(settings).items()}


def parse_numbers(option: str, text: str | None) -> list[float] | None:
    """The value of --mean or --std."""
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} is {text!r}; write one number a channel, such as 0.485,0.456,0.406") from None


def parse_sides(text: str | None) -> tuple[int, ...]:
    """The value of --scales."""
    try:
        return tuple(int(side) for side in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(f"--scales is {text!r}; write pixels of the shorter side, such as 224,256,384") from None
