"""`plusx recipes`."""

import json

from typer.testing import CliRunner

from plusx.cli.app import app


def test_recipes_are_listed_and_shown_as_they_can_be_set() -> None:
    listed = CliRunner().invoke(app, ["recipes"]).stdout
    assert "cifar10-paper: resnet20, 64,000 steps, 128 images a step" in listed and "plusx train digits" in listed
    told = {r["recipe"]: r for r in json.loads(CliRunner().invoke(app, ["recipes", "--json"]).stdout)["recipes"]}
    assert told["digits"]["data"] == "digits" and told["cifar10-94"]["epochs"] == 12
    assert told["folder"]["epochs"] is None and told["folder"]["length"].startswith("15 to 60 epochs")
    shown = CliRunner().invoke(app, ["recipes", "digits"]).stdout
    assert "optim.lr=0.1\n    Learning rate at the peak" in shown and "--set optim.lr=0.05" in shown
    changed = json.loads(CliRunner().invoke(app, ["recipes", "digits", "--set", "optim=AdamW", "--json"]).stdout)
    each = {s["key"]: s["value"] for s in changed["settings"]}
    assert each["optim"] == "AdamW" and each["optim.beta2"] == 0.999 and each["data.val"] is None
