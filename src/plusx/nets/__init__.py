"""What is trained: one family of papers per file, and a catalog of all nets by name."""

from plusx.nets import mlp, lenet, alexnet, vgg, googlenet, highway, resnet, densenet, dpn, airbench  # isort: skip  # oldest first
from plusx.nets.catalog import SWAPS, Entry, all_options, build, entry, names, require_input

__all__ = [
    "SWAPS",
    "Entry",
    "airbench",
    "alexnet",
    "all_options",
    "build",
    "densenet",
    "dpn",
    "entry",
    "googlenet",
    "highway",
    "lenet",
    "mlp",
    "names",
    "require_input",
    "resnet",
    "vgg",
]
