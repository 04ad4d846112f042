"""What is trained: one family of papers per file, and a catalog of all nets by name."""

from plusx.nets import resnet
from plusx.nets.catalog import Entry, build, entry, names

__all__ = ["Entry", "build", "entry", "names", "resnet"]
