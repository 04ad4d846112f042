"""`plusx reproduce`, `plusx analyse` and ensembles."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from plusx.cli.app import app


@pytest.mark.more
def test_the_verbs_of_experiments_answer_in_json(digits_run: Path, tmp_path: Path) -> None:
    def answer(*arguments: str | Path) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    both = answer("evaluate", digits_run, digits_run, "--out", tmp_path / "both", "--ensemble")
    assert both["images"] == 360 and (tmp_path / "both" / "predictions.csv").is_file()
    each = answer("evaluate", digits_run, "--tta", "flip", "--out", tmp_path / "flip")
    assert each["test_error"] != both["test_error"] and each["report"] == str(tmp_path / "flip" / "evaluation.html")
    asked = answer("analyse", digits_run, "responses")
    assert len(asked["series"]["resnet20"]) == 19 and Path(asked["figure"]).is_file()
    done = answer("reproduce", "worked-example", "--out", tmp_path / "out")
    assert list(done["seen"].values()) == [True] and Path(done["report"]).is_file()
    listed = {e["name"]: e for e in answer("reproduce", "--list", "--out", tmp_path / "out")["experiments"]}
    assert list(listed["worked-example"]["seen"].values()) == [True] and listed["degradation"]["trained"] == 0
    shown = CliRunner().invoke(app, ["reproduce", "--list", "--out", str(tmp_path / "out")]).stdout
    assert "worked-example" in shown and "claim seen: yes" in shown and "not run" in shown
