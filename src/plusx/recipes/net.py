"""The net of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetSpec:
    """The net: a name of the catalog and the options of its builder."""

    name: str
    """Catalog name; `plusx nets` lists them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, such as {"shortcut": "B"}."""
    weights: str | None = None
    """Weights to start from: a file, a run directory, or published ones (torchvision:IMAGENET1K_V1,
    timm/resnet50.a1_in1k); none starts from random. The rows of the last layer are assigned to classes by name; if the
    weights have other classes or do not name them, the layer is initialised at random."""
