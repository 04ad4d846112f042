"""Commands as a user types them: in this process where that proves as much, in one of their own where it does not."""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from plusx.cli.app import main

SMALL = ["--set", "steps=4", "--set", "batch_size=16", "--set", "evaluation.count=2", "--set", "data.limit=64"]


@dataclass
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def plusx(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run a command in this process, with files in place of its streams."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    code: object = 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.object(sys, "argv", ["plusx", *map(str, arguments)]),
        _at_nobodys_home(),
        contextlib.redirect_stdout(streams["stdout"]),
        contextlib.redirect_stderr(streams["stderr"]),
        warnings.catch_warnings(),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert code is None or isinstance(code, int), code
    texts = {}
    for name, stream in streams.items():
        stream.flush()
        texts[name] = stream.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
    return Done(code or 0, **texts)


def process(*arguments: str | Path, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "plusx", *map(str, arguments)]
    env = {k: v for k, v in os.environ.items() if k != "PLUSX_DATA"} | {"HOME": "/nonexistent"} | environ
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=cwd, env=env)


def result(*arguments: str | Path, cwd: Path | None = None) -> dict[str, Any]:
    """What a command that succeeds answers with --json."""
    done = plusx(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def refused(*arguments: str | Path, cwd: Path | None = None) -> str:
    """The sentence of a mistake; nothing may be printed beside it, and nothing left behind."""
    before = sorted(cwd.rglob("*")) if cwd else []
    done = plusx(*arguments, cwd=cwd)
    assert done.returncode == 2, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("plusx:")]
    assert len(lines) == 1 and "Traceback" not in done.stderr and not done.stdout, done
    assert not cwd or sorted(cwd.rglob("*")) == before
    return lines[0].removeprefix("plusx: ")


@contextlib.contextmanager
def _at_nobodys_home() -> Iterator[None]:
    """No data of the user's is found."""
    with mock.patch.dict(os.environ, {"HOME": "/nonexistent"}):
        os.environ.pop("PLUSX_DATA", None)
        yield
