"""card.json: the net and its options, classes, preprocessing, recipe, data, versions and measured results of a run."""

import platform
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from plusx.data.preprocess import Preprocess
from plusx.nets import all_options
from plusx.nets.own import short
from plusx.recipes import Recipe
from plusx.recipes.codec import from_dict as recipe_from_dict
from plusx.recipes.codec import to_dict as recipe_to_dict
from plusx.runs.metrics import name_of

FORMAT = 1


@dataclass(frozen=True)
class Card:
    """Everything but the weights."""

    recipe: Recipe
    net_options: Mapping[str, Any]
    """Options of the builder: the recipe's, and those that the data decides (classes, channels). The file has the
    defaults of all others too, so that the net stays what it is where a later version has another default."""
    class_names: tuple[str, ...]
    preprocess: Preprocess
    source: Mapping[str, Any]
    """Where the images came from: name, data_dir, fingerprint, images of each part."""
    placement: Mapping[str, Any]
    """Device, precision, layout and threads that training used, each with its reason."""
    status: str = "training"
    """training or finished."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, with the evidence: steps, errors, seconds, peak memory."""
    versions: Mapping[str, str] = field(default_factory=lambda: installed_versions())
    notes: tuple[str, ...] = ()
    """What was assumed of the weights that the run began with, a sentence each."""
    code: Mapping[str, Any] | None = None
    """Of a net that is a user's own: the file in the run's folder code/, its hash, and what in it makes the net."""

    @property
    def in_words(self) -> str:
        """Net, data and what was measured, in a few words."""
        data = Path(self.source["name"]).name if self.source["name"] else "weights alone"
        errors = [
            f"{name.replace('_', ' ')} {100 * value:.2f} %"
            for name, value in self.results.items()
            if name in (name_of("val", "error"), name_of("test", "error"))
        ]
        about = [f"{short(self.recipe.net.name)} on {data}", f"{len(self.class_names):,} classes", *errors]
        return ", ".join(about if self.status == "finished" else [*about, self.status])

    def __repr__(self) -> str:
        return f"<Card {self.in_words}>"

    @property
    def left_out(self) -> tuple[str, ...]:
        """How many files of the data were left out, in words; empty where none was."""
        count = len(self.source["left_out"])
        return (f"{count:,} {'file' if count == 1 else 'files'} left out",) if count else ()

    def finished(self, results: Mapping[str, Any]) -> "Card":
        """The card of the same run, done."""
        return replace(self, status="finished", results=dict(results))

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the inverse of `from_dict`."""
        return {
            "format": FORMAT,
            "status": self.status,
            "net": self.recipe.net.name,
            "net_options": all_options(self.recipe.net.name, self.net_options)
            if self.code is None
            else dict(self.net_options),
            **({} if self.code is None else {"code": dict(self.code)}),
            "class_names": list(self.class_names),
            "notes": list(self.notes),
            "results": dict(self.results),
            "recipe": recipe_to_dict(self.recipe),
            "source": dict(self.source),
            "placement": dict(self.placement),
            "versions": dict(self.versions),
            "preprocess": self.preprocess.to_dict(),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Card":
        """A card from `to_dict`'s output. Raises ValueError, KeyError or TypeError on anything else."""
        if fields["format"] != FORMAT:
            raise ValueError(f"its format is {fields['format']!r}; this version of plusx reads {FORMAT}")
        return Card(
            recipe=recipe_from_dict(fields["recipe"]),
            net_options=fields["net_options"],
            class_names=told_apart(fields["class_names"]),
            preprocess=Preprocess.from_dict(fields["preprocess"]),
            source=fields["source"],
            placement=fields["placement"],
            status=fields["status"],
            results=fields["results"],
            versions=fields["versions"],
            notes=tuple(fields.get("notes", ())),
            code=fields.get("code"),
        )


def told_apart(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names in one Unicode form (NFC), equal ones with their index: a name must mean one class.

    Args:
        class_names: In the order of the last layer.

    Example:
        >>> told_apart(["crane", "ant", "crane"])
        ('crane (0)', 'ant', 'crane (2)')
    """
    names = [unicodedata.normalize("NFC", name) for name in class_names]
    count = Counter(names)
    if len(count) == len(names):
        return tuple(names)
    return told_apart([f"{name} ({index})" if count[name] > 1 else name for index, name in enumerate(names)])


def checkout(*paths: Path) -> str | None:
    """The commit of the checkout that holds these files or folders, with a + when they differ; None outside of one."""
    told = []
    for question in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", *map(str, paths)]):
        try:
            done = subprocess.run(["git", "-C", str(paths[0].parent), *question], capture_output=True, text=True)
        except OSError:  # there is no git
            return None
        if done.returncode:
            return None
        told.append(done.stdout.strip())
    return told[0] + ("+" if told[1] else "")


def installed_versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    return {
        "plusx": version("plusx"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
