"""Every colour of the pages and figures: what it stands for, and its light and its dark form.

A colour means one thing everywhere: plain nets, residual nets, what a paper published, and the training, validation and
test images each have their own. Whatever has no fixed meaning takes the colours of `SERIES` in turn.
"""

from collections.abc import Sequence

TOKENS = {
    "ground": ("#ffffff", "#14171c"),
    "line": ("#e3e6ea", "#2e343d"),  # rules between the rows of tables
    "ink": ("#1c1f24", "#e8eaed"),
    "soft": ("#5b6472", "#9aa4b2"),
    "plain": ("#c2410c", "#fb8c4a"),
    "residual": ("#1d4ed8", "#7ba6ff"),
    "paper": ("#57606d", "#a7b0bd"),
    "train": ("#0f766e", "#2dd4bf"),
    "val": ("#be185d", "#f472b6"),
    "test": ("#7e22ce", "#c48bfd"),
    "wrong": ("#c81e1e", "#f87171"),
    "amber": ("#8a6100", "#e3b341"),
    "lime": ("#3f7d0c", "#a3d65c"),
    "sky": ("#0369a1", "#38bdf8"),
    "maroon": ("#7f1d1d", "#fca5a5"),
    "slate": ("#334155", "#cbd5e1"),
}
"""Name to light and dark. Text and lines have a contrast of at least 4.5 on the ground, which a test computes."""

# Light forms stand for the colours in code; figures name the token in their place, and so follow the page's scheme.
INK, SOFT, PLAIN, RESIDUAL, PAPER = (TOKENS[name][0] for name in ("ink", "soft", "plain", "residual", "paper"))
SPLITS = {split: TOKENS[split][0] for split in ("train", "val", "test")}
SERIES = tuple(TOKENS[name][0] for name in ("amber", "lime", "slate", "maroon", "sky"))


def declarations(scheme: int) -> str:
    """The tokens as CSS custom properties; scheme is 0 for light and 1 for dark."""
    return " ".join(f"--{name}: {pair[scheme]};" for name, pair in TOKENS.items())


def net_colours(nets: Sequence[str]) -> list[str]:
    """The colour of each net by its kind, so that the eye pairs depths: names of a kind differ in their digits."""
    kinds = [net.rstrip("0123456789") for net in nets]
    others = [kind for kind in dict.fromkeys(kinds) if _kind_colour(kind) is None]
    return [_kind_colour(kind) or SERIES[others.index(kind) % len(SERIES)] for kind in kinds]


def net_widths(nets: Sequence[str]) -> list[float]:
    """A line for each net, the thicker the deeper."""
    depths = [int(net[len(net.rstrip("0123456789")) :] or 0) for net in nets]
    order = sorted(set(depths))
    thinnest, thickest = (1.2, 2.8) if order[1:] else (1.8, 1.8)
    return [thinnest + (thickest - thinnest) * order.index(depth) / max(1, len(order) - 1) for depth in depths]


def _kind_colour(kind: str) -> str | None:
    if kind.startswith("plain"):
        return PLAIN
    return RESIDUAL if kind.startswith(("resnet", "preact_resnet", "residual")) else None
