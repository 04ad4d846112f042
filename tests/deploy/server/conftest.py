"""A server in this process, asked without a network, and one in a process of its own, asked over loopback."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from plusx.deploy.server.app import create_app
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings

Ask = Callable[..., TestClient]


@pytest.fixture(scope="session")
def client(digits_run: Path) -> Iterator[TestClient]:
    """A client of a server of the digits' run, with the default settings."""
    with asked(digits_run) as client:
        yield client


@contextmanager
def asked(*runs: Path, **settings: object) -> Iterator[TestClient]:
    """A client of a server in this process."""
    chosen = Settings(**settings)  # type: ignore[arg-type]
    models = Models(runs, chosen)
    models.load()
    with TestClient(create_app(models, chosen), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Eleven images of differing sizes and formats, small ones and large ones."""
    rng, files = np.random.default_rng(0), []
    for number in range(11):
        side = (8, 20, 150)[number % 3]
        pixels = rng.integers(0, 256, (side, side + number, 3), dtype=np.uint8)
        file = tmp_path / f"{number}{('.png', '.jpg', '.bmp')[number // 4]}"
        Image.fromarray(pixels).save(file)
        files.append(file)
    return files


class Server:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rpartition(":")[2])

    def ready(self) -> "Server":
        """Wait until its models are loaded."""
        for _ in range(3000):
            if httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200:
                return self
            time.sleep(0.1)
        raise AssertionError("it was not ready within five minutes")


Start = Callable[..., Server]


@contextmanager
def starting() -> Iterator[Start]:
    """Starts servers; those that still run are killed at the end."""
    with ExitStack() as stack:

        def start(*arguments: str | Path, **environ: str) -> Server:
            command = [sys.executable, "-m", "plusx", "serve", "--port", "0", "--json", *map(str, arguments)]
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **environ},
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise AssertionError(process.communicate()[1])
            return Server(process, json.loads(line)["url"])

        yield start


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers for one test."""
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def server(digits_run: Path) -> Iterator[Server]:
    """A server of the digits' run that many tests ask, and none stops."""
    with starting() as start:
        yield start(digits_run).ready()
