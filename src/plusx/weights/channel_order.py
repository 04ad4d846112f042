"""Channels of a foreign net in our order, where its parameter-free shortcut puts them elsewhere.

Option A pads zeros for the channels that a shortcut lacks. akamaster/pytorch_resnet_cifar10 pads half of them before
and half behind; ours all lie behind, as fb.resnet.torch's. The nets are the same but for the order of the channels
after each widening, so the tensors are reordered, and the net gets no option.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor


def padded_behind(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, under our names, of a net that padded on both sides, for one that pads behind.

    Args:
        tensors: Of a net of residual blocks with option A, under our names; none is changed in place.

    Raises:
        ValueError: The blocks are pre-activated, which no net that pads on both sides is known to be.
    """
    if any(".open." in name for name in tensors):
        raise ValueError("padding=both is for blocks that end in ReLU; these are pre-activated")
    moved = dict(tensors)
    last = max(re.findall(r"branch\.(conv\d)\.conv", " ".join(tensors)))  # the convolution that a block ends with
    order = torch.arange(len(tensors["stem.conv.conv.weight"]))  # of ours, each channel's place in theirs
    stage = 0
    while f"stages.{stage}.0.branch.conv1.conv.weight" in tensors:
        before, width = order, len(tensors[f"stages.{stage}.0.branch.{last}.conv.weight"])
        front = (width - len(before)) // 2
        order = torch.cat([front + before, torch.arange(front), torch.arange(front + len(before), width)])
        block = 0
        while (branch := f"stages.{stage}.{block}.branch") + ".conv1.conv.weight" in tensors:
            entering = before if block == 0 else order
            moved[f"{branch}.conv1.conv.weight"] = tensors[f"{branch}.conv1.conv.weight"][:, entering]
            for leaf in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
                moved[f"{branch}.{last}.{leaf}"] = moved[f"{branch}.{last}.{leaf}"][order]
            block += 1
        stage += 1
    if "head.linear.weight" in tensors:
        moved["head.linear.weight"] = tensors["head.linear.weight"][:, order]
    return moved
