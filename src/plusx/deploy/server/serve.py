"""`plusx serve` for Python."""

from collections.abc import Callable, Sequence
from pathlib import Path

from plusx.deploy.server.settings import Settings
from plusx.placement.inference.openvino import is_installed

INSTALL = "pip install 'plusx[serve]'"


def serve(
    models: str | Path | Sequence[str | Path],
    settings: Settings = Settings(),
    *,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C; what was accepted until then is answered.

    Args:
        models: Run directories and exported files (.onnx), or a single one. A run that changes is loaded anew.
        settings: Address, limits and times.
        listening: Called with the address once it can be asked, while the models are still being loaded.

    Raises:
        ValueError: A model cannot be used, the address is taken or not of this machine, or a package is missing.
    """
    if not is_installed("fastapi", "uvicorn"):
        raise ValueError(f"serving needs fastapi and uvicorn; install them: {INSTALL}")
    from plusx.deploy.server.process import run

    paths = [models] if isinstance(models, str | Path) else models
    run([Path(path) for path in paths], settings, listening or (lambda url: None))
