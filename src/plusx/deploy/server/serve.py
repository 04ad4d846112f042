"""A server that runs until it is told to stop."""

from collections.abc import Sequence
from pathlib import Path

import uvicorn

from plusx.deploy.server.app import create_app
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings


def serve(paths: Sequence[str | Path], settings: Settings = Settings()) -> None:
    """Serve models until SIGTERM or Ctrl-C."""
    app = create_app(Models([Path(path) for path in paths]), settings)
    uvicorn.run(app, host=settings.host, port=settings.port, loop="asyncio", http="h11", access_log=False)
