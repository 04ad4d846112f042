"""Runs to look at: one with everything that the page can show, one with nothing but weights, one that is trained on."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import plusx


@pytest.fixture(scope="session")
def shown_run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run, evaluated and analysed."""
    run = tmp_path_factory.mktemp("shown") / "digits"
    shutil.copytree(digits_run, run)
    plusx.evaluate(run, progress=False)
    for question in ("responses", "lesions"):
        plusx.analyse(run, question, progress=False)
    return run


@pytest.fixture(scope="session")
def live_run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as it is while it trains: no more than a step was measured."""
    run = tmp_path_factory.mktemp("live") / "training"
    shutil.copytree(digits_run, run)
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    (run / "card.json").write_text(json.dumps({**card, "status": "training", "results": {}}), encoding="utf-8")
    write_metrics(run, 10)
    return run


def write_metrics(run: Path, *steps: int) -> None:
    """The loss of the batches at some steps, in place of what was there."""
    records = [{"step": n, "name": "batch_loss", "value": 2.0 - n / 100, "unit": "nats", "seconds": 1.0} for n in steps]
    records += [{"step": n, "name": "val_error", "value": 0.5 - n / 200, "unit": "1", "seconds": 1.0} for n in steps]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture(scope="session")
def url(shown_run: Path, live_run: Path, photos_run: Path) -> Iterator[str]:
    """The address of a server of these runs, in a process of its own."""
    command = [sys.executable, "-m", "plusx", "serve", *map(str, (shown_run, photos_run, live_run))]
    with subprocess.Popen([*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = json.loads(process.stdout.readline())["url"]
        for _ in range(600):
            if httpx.get(f"{address}/readyz").status_code == 200:
                break
            time.sleep(0.1)
        try:
            yield address
        finally:
            process.terminate()
