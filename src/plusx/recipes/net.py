"""The net of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plusx.recipes.bounds import percent, require


@dataclass(frozen=True)
class NetSpec:
    """The net: a name of the catalog and the options of its builder."""

    name: str
    """Catalog name; `plusx nets` lists them. Or a class of your own, mynet.py:MyNet, with the path of its file."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, such as {"shortcut": "B"}."""
    weights: str | None = None
    """Weights to start from: a file, a run directory, or published ones (torchvision:IMAGENET1K_V1,
    timm/resnet50.a1_in1k); none starts from random. The rows of the last layer are assigned to classes by name; if the
    weights have other classes or do not name them, the layer is initialised at random."""
    fit_head: bool = False
    """Before the first step, fit the last layer to the training images by logistic regression on what the other layers,
    as they begin, say of them; Kumar et al. (2022), arXiv:2202.10054."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they begin, such as stem,stages.0: their weights, and the statistics of their batch norms,
    which normalise by them, as in evaluation."""
    freeze_until: float = 1.0
    """Fraction of the run from which the frozen parts are trained, too; 1 freezes them to the end."""

    def __post_init__(self) -> None:
        require(0 < self.freeze_until <= 1, "net.freeze_until", self.freeze_until, "in (0, 1]")

    @property
    def frozen_in_words(self) -> str:
        """Which parts stay as they begin, and for how long."""
        until = "" if self.freeze_until == 1 else f" for the first {percent(self.freeze_until)} of the run"
        return f"{', '.join(self.freeze)}{until}"
