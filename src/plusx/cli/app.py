"""The table of verbs, and how they are run.

Results go to standard output, progress and faults to standard error. With --json the last line of standard output is
one JSON object. Exit code 0 is success, 2 a user's mistake in one sentence, 130 an interrupt. Importing this module
does not import torch: `plusx --help` answers at once.
"""

import io
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from plusx.cli.analyse import analyse
from plusx.cli.benchmark import benchmark_inference, benchmark_train
from plusx.cli.calibrate import calibrate
from plusx.cli.check import data_check
from plusx.cli.compare import compare
from plusx.cli.convert import convert
from plusx.cli.demo import demo
from plusx.cli.evaluate import evaluate
from plusx.cli.export import export
from plusx.cli.nets import nets, summary
from plusx.cli.predict import predict
from plusx.cli.prepare import data_prepare
from plusx.cli.recipes import recipes
from plusx.cli.reproduce import reproduce
from plusx.cli.sections import Sectioned
from plusx.cli.serve import serve
from plusx.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
GROUPS = {
    "": app,
    "data": typer.Typer(no_args_is_help=True, help="Check data before training on it, or prepare it for fast reading."),
    "benchmark": typer.Typer(no_args_is_help=True, help="Measure speed on this machine."),
}
VERBS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "compare": compare,
    "predict": predict,
    "serve": serve,
    "analyse": analyse,
    "reproduce": reproduce,
    "convert": convert,
    "export": export,
    "nets": nets,
    "recipes": recipes,
    "summary": summary,
    "data check": data_check,
    "data prepare": data_prepare,
    "benchmark train": benchmark_train,
    "benchmark inference": benchmark_inference,
}
"""What is typed after `plusx`, in the order in which --help lists it."""

for typed, verb in VERBS.items():
    group, _, name = typed.rpartition(" ")
    GROUPS[group].command(name, cls=Sectioned)(verb)
for group, verbs in GROUPS.items():
    if group:
        app.add_typer(verbs, name=group)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # of the installed packages, which need not be imported for it

        print(f"plusx {version('plusx')} (torch {version('torch')})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions of plusx and torch.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Train, evaluate and explain residual networks, y = F(x) + x, and the convolutional networks before and after
    them."""


def main() -> None:
    """Run the command line. A mistake that a user can make becomes one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal's encoding may lack a character of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    if not os.environ.get("PLUSX_TRACEBACK"):
        warnings.simplefilter("ignore")  # libraries warn of what is then said in one sentence
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
