"""The models that are served: named, loaded, and loaded anew where their files have changed.

A model's files are looked at every second. When they have changed, and have stayed as they are for a second, they are
loaded beside the old ones; only a model that was loaded whole takes the place of the old one, which answers until then
and still answers the images that it was given. Files that cannot be loaded are said once, and the old model stays.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from plusx.deploy.server.batching import Queue, Workers
from plusx.deploy.server.bodies import shown
from plusx.deploy.server.classifiers import Classifier, load_classifier
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.pace import measure_pace
from plusx.deploy.server.reading import Reader
from plusx.deploy.server.settings import Settings
from plusx.placement.inference.streams import Streams
from plusx.placement.machine import usable_cpus
from plusx.runs.card import Card

Result = TypeVar("Result")
log = logging.getLogger(__name__)
Signature = tuple[tuple[str, int, int, int], ...]
"""The files of a model, each with its time, size and place on the disk."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model as it was loaded. A request takes it once, and is answered by it whatever is loaded meanwhile."""

    classifier: Classifier
    queue: Queue
    signature: Signature
    path: Path
    _nets: list[nn.Module] = field(default_factory=list)

    @property
    def card(self) -> Card | None:
        """Of a run."""
        return self.classifier.card

    def net(self) -> nn.Module:
        """The net itself, which is read when it is first needed; for the thread that explains.

        Raises:
            Fault: Its files are no longer those that were loaded (503).
        """
        if not self._nets:
            net = self.classifier.net()
            assert net is not None
            if signature_of(self.path) != self.signature:
                raise Fault(503, "the run has just changed; try again", {"Retry-After": "3"})
            self._nets.append(net)
        return self._nets[0]


class Explaining:
    """The thread that explains, one image at a time and on one processor."""

    def __init__(self) -> None:
        self.waiting = 0
        self.streams = Streams(1)

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of some work."""
        self.waiting += 1
        try:
            return await asyncio.wrap_future(self.streams.submit(work))
        finally:
            self.waiting -= 1


class Model:
    """A model under its name."""

    def __init__(self, name: str, path: Path, workers: Workers, settings: Settings) -> None:
        self.name, self.path = name, path
        self.source = "onnx" if path.suffix == ".onnx" else "run"
        self.loads, self.refusals = 0, 0
        self._workers, self._settings = workers, settings
        self._loaded: Loaded | None = None
        self._before: Counter[int] = Counter()
        self._seen: Signature | None = None
        """What was there a second ago."""
        self._refused: Signature | None = None

    @property
    def loaded(self) -> Loaded:
        """What answers now.

        Raises:
            Fault: It is not loaded yet (503).
        """
        if self._loaded is None:
            raise Fault(503, f"the model {self.name} is still being loaded; try again", {"Retry-After": "1"})
        return self._loaded

    @property
    def is_loaded(self) -> bool:
        """Whether it can answer."""
        return self._loaded is not None

    @property
    def held(self) -> int:
        """Images that are accepted and not answered yet."""
        return self._loaded.queue.held if self._loaded else 0

    @property
    def batches(self) -> Counter[int]:
        """How often so many images were computed together."""
        return self._before + Counter(self._loaded.queue.batches if self._loaded else {})

    def load(self) -> None:
        """Load it as it is on the disk; takes seconds.

        Raises:
            ValueError: It cannot be used, or was changed while it was read.
        """
        signature, threads = signature_of(self.path), self._workers.streams.threads
        classifier = load_classifier(self.path, self._settings)
        pace = measure_pace(classifier, threads=threads, budget=self._settings.latency_budget)
        if signature_of(self.path) != signature:
            raise ValueError(f"{self.path} was changed while it was read")
        before, queue = self.batches, Queue(classifier, pace, self._workers, room=self._settings.queue)
        self._loaded, self._before = Loaded(classifier, queue, signature, self.path), before
        self.loads += 1

    async def reload_if_changed(self) -> None:
        """Load it anew if its files have changed and were left alone since the last call."""
        signature = await asyncio.to_thread(signature_of, self.path)
        settled, self._seen = signature == self._seen, signature
        if not settled or not signature or signature in (self.loaded.signature, self._refused):
            return
        try:
            await asyncio.to_thread(self.load)
        except Exception as fault:  # whatever is wrong with the new files, the old model answers
            self._refused, self.refusals = signature, self.refusals + 1
            log.warning("%s has changed and cannot be loaded, the model stays as it was: %s", self.path, fault)
        else:
            self._refused = None
            log.warning("%s has changed and was loaded anew", self.path)

    def details(self) -> dict[str, Any]:
        """What GET /v1/models/{name} says of it."""
        return {**self.summary(), "card": dict(self.loaded.classifier.about)}

    def summary(self) -> dict[str, Any]:
        """What GET /v1/models says of it."""
        classifier = self.loaded.classifier
        height, width = classifier.preprocess.size
        return {
            "name": self.name,
            "classes": list(classifier.class_names),
            "height": height,
            "width": width,
            "channels": classifier.preprocess.channels,
            **classifier.facts,
            "source": self.source,
            "explains": self.source == "run",
            "run": self.source == "run",
        }


class Models:
    """The models, by name; the first is the default.

    Args:
        paths: Run directories and exported files.
        settings: What is allowed, and how the models compute.
    """

    def __init__(self, paths: Sequence[Path], settings: Settings) -> None:
        self.streams = Streams(usable_cpus())
        self.reader = Reader(self.streams.threads)
        self.explaining = Explaining()
        workers = Workers(self.streams)
        self._models = {name: Model(name, path, workers, settings) for name, path in names_of(paths).items()}
        self.draining = False

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def is_ready(self) -> bool:
        """Whether all are loaded, and requests are taken."""
        return not self.draining and all(model.is_loaded for model in self)

    @property
    def is_full(self) -> bool:
        """Whether no model has room for another image."""
        return all(model.is_loaded and model.held >= model.loaded.queue.room for model in self)

    def find(self, name: str | None) -> Model:
        """The model of a name, or the first.

        Raises:
            Fault: There is none (404).
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise Fault(404, f"there is no model {shown(name)!r}; there are: {', '.join(self._models)}")
        return self._models[name]

    def load(self) -> None:
        """Load all of them.

        Raises:
            ValueError: One cannot be used.
        """
        for model in self:
            model.load()

    async def watch(self, every: float = 1.0) -> None:
        """Load anew what changes, for ever.

        Args:
            every: Seconds.
        """
        while True:
            await asyncio.sleep(every)
            for model in self:
                await model.reload_if_changed()

    @contextmanager
    def running(self) -> Iterator[None]:
        """End the threads behind."""
        try:
            yield
        finally:
            self.reader.close()
            self.streams.close()
            self.explaining.streams.close()


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Each path under the name of its folder or file, without suffix; a second one of a name gets -2.

    Example:
        >>> list(names_of([Path("a/pets"), Path("b/pets"), Path("pets.onnx"), Path("cats.onnx")]))
        ['pets', 'pets-2', 'pets-3', 'cats']
    """
    named: dict[str, Path] = {}
    for path in paths:
        stem = shown(path.stem if path.suffix == ".onnx" else path.absolute().name)
        name, number = stem, 1
        while name in named:
            number += 1
            name = f"{stem}-{number}"
        named[name] = path
    return named


def signature_of(path: Path) -> Signature:
    """What the files of a model are known by; empty where there are none."""
    files = [path]
    if path.is_dir():
        files = [path / "card.json", path / "weights.safetensors", *sorted((path / "state").glob("step-*"))]
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        found.append((file.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
