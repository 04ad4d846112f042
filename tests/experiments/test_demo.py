"""The demo: deeper plain nets have the higher training error, deeper residual nets do not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plusx.engine.events import Progress, StoppedError
from plusx.experiments import demo as experiment
from plusx.experiments.demo import demo


@pytest.mark.parametrize(
    ("plain20", "plain56", "resnet20", "resnet56", "holds"),
    [
        (0.05, 0.60, 0.01, 0.02, True),
        (0.00, 0.50, 0.00, 0.00, True),
        (0.10, 0.05, 0.01, 0.00, False),
        (0.10, 0.20, 0.10, 0.40, False),
    ],
)
def test_the_sentence_follows_the_numbers(
    plain20: float, plain56: float, resnet20: float, resnet56: float, holds: bool
) -> None:
    errors = {"plain20": plain20, "plain56": plain56, "resnet20": resnet20, "resnet56": resnet56}
    sentences, judged = experiment._judge(errors)
    assert judged is holds and ("does not show" in sentences[1]) is not holds
    assert f"{100 * plain56:.1f} %" in sentences[0]


def test_the_demo_command_writes_four_runs_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = experiment.digits_degradation
    monkeypatch.setattr(experiment, "digits_degradation", lambda net: recipe(net).smoke())
    found = demo(tmp_path / "demo")
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == [
        "plain20",
        "plain56",
        "report.html",
        "resnet20",
        "resnet56",
    ]
    page = found.report.read_text()
    assert len(found.runs) == 4
    assert page.count("<svg") == 4  # the plain and the residual block, training and test error
    assert "Plain block: y = F(x)<" in page and "Residual block: y = F(x) + x<" in page
    assert re.search(r'<img class="wide pixels" src="data:image/png;base64,[^"]+" alt="30 of the 1,437 training', page)
    links = re.findall(r'<a href="([^"]+)"', page)
    assert links == [f"{net}/report.html" for net in experiment.NETS]
    assert all((tmp_path / "demo" / link).is_file() for link in links)
    with pytest.raises(ValueError, match="is not an empty folder"):
        demo(tmp_path / "demo")


def test_a_stopped_demo_is_resumed_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = experiment.digits_degradation
    monkeypatch.setattr(experiment, "digits_degradation", lambda net: recipe(net).smoke())
    folder, heard = tmp_path / "demo", list[Progress]()
    with pytest.raises(StoppedError, match=f"stopped at step 1 of 6; resume with: plusx demo --out {folder}$"):
        demo(folder, progress=heard.append, should_stop=lambda: len(heard) > 0 and heard[-1].number == 2)
    with pytest.raises(ValueError, match="was trained with another recipe"):
        demo(folder, seed=1)
    written = (folder / "plain20" / "weights.safetensors").stat().st_mtime_ns
    found = demo(folder, progress=heard.append)
    assert (folder / "plain20" / "weights.safetensors").stat().st_mtime_ns == written
    assert [run.run.name for run in found.runs] == list(experiment.NETS)
    done = [progress.done for progress in heard]
    assert done == sorted(done) and done[-1] == heard[-1].total
    assert [p.number for p in heard if p.event.step == 6 and p.event.measurements] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_claim_is_seen_at_every_seed(tmp_path: Path, seed: int) -> None:
    found = demo(tmp_path / "demo", seed=seed)
    errors = {run.card.results["net"]: run.card.results["train_error"] for run in found.runs}
    assert found.holds
    assert errors["plain56"] > errors["plain20"] + 0.2
    assert errors["resnet56"] < errors["resnet20"] + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_digits_reach_98_5_per_cent(tmp_path: Path, seed: str) -> None:
    import json

    command = [sys.executable, "-m", "plusx", "train", "digits", "--seed", seed, "--json", "--out", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=True)
    assert json.loads(done.stdout.splitlines()[-1])["test_accuracy"] >= 0.985
