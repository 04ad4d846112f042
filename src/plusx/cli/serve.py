"""`plusx serve`."""

from pathlib import Path
from typing import Annotated

import typer

import plusx


def serve(
    models: Annotated[list[str], typer.Argument(metavar="RUN|FILE.onnx...", help="Run directories and ONNX files.")],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8000,
) -> None:
    """Serve trained nets over HTTP, with a page to look at.

    \b
    Example:
      plusx serve runs/digits-resnet20-seed0
    """
    from plusx.deploy.server.settings import Settings

    plusx.serve([Path(model) for model in models], Settings(host=host, port=port))
