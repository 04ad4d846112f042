"""Parameters and multiply-adds, exactly as published or counted elsewhere; and the papers' rounded ones."""

import csv
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from plusx.nets import build, entry
from plusx.recipes.text import option_value

ROWS = list(csv.DictReader((Path(__file__).parent / "published.csv").read_text(encoding="utf-8").splitlines()))

ROUNDED = [  # net, parameters as printed, where
    ("highway_a", 236_000, "Highway Table 2"),
    ("highway_b", 2_300_000, "Highway Table 2"),
    ("highway_c", 1_250_000, "Highway Table 2"),
    ("highway_mnist_16", 39_000, "Highway Table 1"),
    ("highway_mnist_32", 151_000, "Highway Table 1"),
    ("resnet20", 270_000, "ResNet Table 6"),
    ("resnet110", 1_700_000, "ResNet Table 6"),
    ("resnet1202", 19_400_000, "ResNet Table 6"),
    ("preact_resnet164", 1_700_000, "arXiv:1603.05027 Table 4"),
    ("preact_resnet1001", 10_200_000, "arXiv:1603.05027 Table 4"),
    ("wrn_28_10", 36_500_000, "arXiv:1605.07146 Table 4"),
    ("alexnet_two_tower", 60_000_000, "Krizhevsky et al. 2012, Sec. 4"),
    ("densenet_bc_190_40", 25_600_000, "DenseNet Table 2"),
]


@pytest.mark.more
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['net']} {row['options']}".strip())
def test_counts_are_the_published_ones(row: dict[str, str]) -> None:
    options = dict(option.split("=") for option in row["options"].split())
    if not options:  # the contract suite counts what an entry declares
        declared = entry(row["net"])
        assert declared.params == int(row["params"]) and declared.macs == int(row["macs"] or declared.macs)
        assert declared.input_shape == (int(row["channels"]), int(row["side"]), int(row["side"]))
        return
    with torch.device("meta"):
        net = build(row["net"], **{key: option_value(value) for key, value in options.items()}).eval()
        assert sum(p.numel() for p in net.parameters()) == int(row["params"])
        if row["macs"]:
            with FlopCounterMode(display=False) as counter:
                net(torch.zeros(1, int(row["channels"]), int(row["side"]), int(row["side"])))
            assert counter.get_total_flops() == 2 * int(row["macs"])


@pytest.mark.parametrize(("name", "printed", "where"), ROUNDED, ids=lambda v: str(v))
def test_counts_are_near_those_that_papers_round(name: str, printed: int, where: str) -> None:
    assert entry(name).params == pytest.approx(printed, rel=0.05)
