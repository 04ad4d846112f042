"""The table of docs/performance.md about reading images."""

from docs.build.markdown import evidence, ratio, shown, span, table
from docs.build.results import exists, read

WAYS = {
    "torchvision": "torchvision's ImageFolder and transforms of Pillow's images, DataLoader with {workers} workers",
    "torchvision, tensors": "the same with transforms of uint8 tensors, as its guide advises",
    "ours, exact": "plusx, crops at fractions of a pixel (`data.reading=exact`)",
    "ours": "plusx, crops at whole pixels (`data.reading=fast`)",
    "ours, prepared": "plusx, from what `plusx data prepare` made of the folder",
}


def reading_table() -> str:
    """Images per second of each way to read."""
    if not exists("reading"):
        return "Not measured."
    found = read("reading")
    peers = [who for who in WAYS if who.startswith("torchvision")]
    rows = [
        (
            text.format(**found),
            f"{found['contenders'][who]['images_per_s']:,.0f} ({span(found['contenders'][who]['images_per_s_range'])})",
            *(ratio(found["ratios"][who][peer]) if who in found["ratios"] else "" for peer in peers),
        )
        for who, text in WAYS.items()
    ]
    heads = (f"over {shown(peer)} (range)" for peer in peers)
    return table(("from file to batch", "images/s (range)", *heads), rows) + "\n\n" + evidence("reading")
