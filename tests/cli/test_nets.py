"""`plusx nets` and `plusx summary`."""

import json

import pytest
from typer.testing import CliRunner

from plusx.cli.app import app
from tests.cli.commands import plusx, result


def test_nets_and_summary_print_the_facts() -> None:
    nets = {n["net"]: n for n in result("nets")["nets"]}  # type: ignore[attr-defined]
    assert nets["resnet50"]["params"] == 25_557_032
    assert result("summary", "resnet50", "--set", "stride_on=1x1")["macs"] == 3_857_973_248
    table = plusx("summary", "resnet20").stdout
    assert "269,722" in table and "40,551,040" in table and "stages.2.2.branch.conv2.conv" in table
    assert "1 MAC = 2 FLOPs" in table and "…" not in plusx("summary", "vgg16").stdout


@pytest.mark.more
def test_summary_compares() -> None:
    answer = result("summary", "plain34", "vgg19", "resnet34")
    nets = answer["nets"]
    assert isinstance(nets, list) and [n["net"] for n in nets] == ["plain34", "vgg19", "resnet34"]
    assert [n["flops"] for n in nets] == [2 * n["macs"] for n in nets] and "FLOPs" in str(answer["rule"])
    table = [line.split() for line in plusx("summary", "plain34", "vgg19").stdout.splitlines()]
    assert ["MACs", "3,644,493,824", "19,632,062,464", "5.39"] in table


def test_a_net_is_shown_with_its_options_facts_and_file() -> None:
    shown = CliRunner().invoke(app, ["nets", "resnet20"]).stdout
    assert "269,722" in shown and "8.75 % top-1: Table 6" in shown and "arXiv:1512.03385" in shown
    assert "shortcut=A\n    Option A" in shown and "One of A, B, C." in shown and "resnet.py:" in shown
    told = json.loads(CliRunner().invoke(app, ["nets", "vgg16", "--json"]).stdout)
    assert told["params"] == 138_357_544
    assert {o["name"]: o["default"] for o in told["options"]}["head"] == "paper"
    assert "summary vgg16 --set head=gap" in CliRunner().invoke(app, ["nets", "vgg16"]).stdout
