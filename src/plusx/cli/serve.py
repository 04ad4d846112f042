"""`plusx serve`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import plusx
from plusx.cli.options import Device, Json, TrustCode
from plusx.cli.tables import print_json

TOKEN = "PLUSX_TOKEN"


def serve(
    models: Annotated[list[Path], typer.Argument(metavar="RUN|FILE.onnx...", help="Run directories and ONNX files.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at. 127.0.0.1 is reached from this machine only, 0.0.0.0 from all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with a token that every request has to bring; the variable {TOKEN} has one too."),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Images that may wait for a model; beyond, requests get 503.")
    ] = 256,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up with 503.")] = 5.0,
    latency_budget: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds that images of several requests may take when computed together; 0 for none."
        ),
    ] = 0.05,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8, as for plusx predict.")] = "auto",
    device: Device = "auto",
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Serve trained nets over HTTP, with a page to try them. Ctrl-C or SIGTERM ends it after what it has accepted.

    \b
    Examples:
      plusx serve runs/photos-resnet18-seed0
      plusx serve runs/photos-resnet18-seed0 runs/digits-resnet20-seed0 --port 8080
      curl -F files=@cat.jpg http://127.0.0.1:8000/v1/predict
    """
    how: dict[str, Any] = {"precision": precision, "device": device, "trust_code": trust_code}
    settings = plusx.ServerSettings(
        host=host,
        port=port,
        token=_token(token_file),
        queue=queue,
        deadline=deadline,
        latency_budget=latency_budget,
        **how,
    )

    def listening(url: str) -> None:
        if as_json:
            print_json({"url": url, "models": [str(model) for model in models]})
        else:
            print(f"{url}  (documentation: {url}/docs; Ctrl-C ends it)")
        sys.stdout.flush()

    if settings.is_open and settings.token is None:
        print(f"note: everybody who reaches {host} may ask; set a token with --token-file or {TOKEN}", file=sys.stderr)
    plusx.serve(models, settings, listening=listening)


def _token(file: Path | None) -> str | None:
    token = os.environ.get(TOKEN) if file is None else file.read_text(encoding="utf-8")
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"the token in {file or TOKEN} must be one word of letters and digits, such as: openssl rand -hex 32"
        )
    return token
