"""What is trained: one family of papers per file, and a catalog of all nets by name."""

# isort: off
# Oldest first, which is the catalog's order.
from plusx.nets import mlp, lenet, alexnet, vgg, googlenet, highway, resnet, preact, wide_resnet, densenet, resnext, dpn
from plusx.nets import airbench

# isort: on
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
    "preact",
    "require_input",
    "resnet",
    "resnext",
    "vgg",
    "wide_resnet",
]
