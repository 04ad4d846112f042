"""The models that are served: loaded, named, and loaded anew where a run has changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx.deploy.predictor import Predictor
from plusx.deploy.server.faults import Fault
from plusx.runs.card import Card


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model as it was loaded; a run that changes is loaded anew beside it."""

    predictor: Predictor
    card: Card


class Model:
    """A model under its name. `loaded` is replaced as a whole, so take it once for each request."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.source = "onnx" if path.suffix == ".onnx" else "run"
        self.loaded = self._load()

    def _load(self) -> Loaded:
        predictor = Predictor(self.path)
        return Loaded(predictor, predictor.card)

    def summary(self) -> dict[str, Any]:
        """What GET /v1/models says of it."""
        card = self.loaded.card
        height, width = card.preprocess.size
        return {
            "name": self.name,
            "net": card.recipe.net.name,
            "classes": list(card.class_names),
            "height": height,
            "width": width,
            "channels": card.preprocess.channels,
            "source": self.source,
            "explains": self.source == "run",
            "run": self.source == "run",
            "status": card.status,
            "val_error": card.results.get("val_error"),
            "test_error": card.results.get("test_error"),
        }


class Models:
    """The models, by name; the first is the default."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._models = {name: Model(name, path) for name, path in names_of(paths).items()}

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def find(self, name: str | None) -> Model:
        """The model of a name, or the first.

        Raises:
            Fault: There is none (404).
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise Fault(404, f"there is no model of that name; there are {', '.join(self._models)}")
        return self._models[name]


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Each path under the name of its folder or file, without suffix; a second one of a name gets -2.

    Example:
        >>> list(names_of([Path("a/pets"), Path("b/pets"), Path("pets.onnx"), Path("cats.onnx")]))
        ['pets', 'pets-2', 'pets-3', 'cats']
    """
    named: dict[str, Path] = {}
    for path in paths:
        stem = path.stem if path.suffix == ".onnx" else path.resolve().name
        name, number = stem, 1
        while name in named:
            number += 1
            name = f"{stem}-{number}"
        named[name] = path
    return named
