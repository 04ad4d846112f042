"""plusx: residual networks and the convolutional networks before and after them.

    y = F(x) + x

The verbs of the command line, as functions. Each is imported when it is first used, so that `import plusx` is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plusx.analysis.analyse import analyse
    from plusx.analysis.cost import compare, cost, summarise
    from plusx.benchmark.training import benchmark_training
    from plusx.data.check import check
    from plusx.data.views import Views
    from plusx.deploy.predictor import Predictor, predict
    from plusx.engine.evaluation import evaluate
    from plusx.engine.events import StoppedError
    from plusx.engine.training import resume, train
    from plusx.experiments.demo import demo
    from plusx.experiments.reproduce import reproduce, standing
    from plusx.nets import entry, names
    from plusx.recipes import recipe_entry, recipe_names, settings
    from plusx.recipes.text import option_value
    from plusx.runs.store import load_run as load
    from plusx.weights.convert import convert
    from plusx.weights.start import build

    __version__: str

_HOMES = {
    "build": ("plusx.weights.start", "build"),  # a net by name, with fresh weights or somebody's
    "convert": ("plusx.weights.convert", "convert"),  # somebody's weights to a run directory
    "entry": ("plusx.nets", "entry"),  # the published facts of a net
    "names": ("plusx.nets", "names"),  # of all nets
    "analyse": ("plusx.analysis.analyse", "analyse"),  # a question to a run: responses, gradients, lesions, paths, ...
    "cost": ("plusx.analysis.cost", "cost"),  # parameters, multiply-adds, memory and receptive field by layer
    "summarise": ("plusx.analysis.cost", "summarise"),  # the same for a catalog name or a run directory
    "compare": ("plusx.analysis.cost", "compare"),  # the same for several
    "check": ("plusx.data.check", "check"),  # a class folder: what is in it, what is left out, what looks wrong
    "recipe_entry": ("plusx.recipes", "recipe_entry"),  # a recipe by name, and what its docstring says
    "recipe_names": ("plusx.recipes", "recipe_names"),
    "settings": ("plusx.recipes", "settings"),  # every field of a recipe: its key, value and sentence
    "option_value": ("plusx.recipes.recipe", "option_value"),  # the text of a builder's option as its value
    "train": ("plusx.engine.training", "train"),
    "resume": ("plusx.engine.training", "resume"),
    "StoppedError": ("plusx.engine.events", "StoppedError"),  # a run ended before its last step
    "load": ("plusx.runs.store", "load_run"),  # a finished run: its net and its card
    "evaluate": ("plusx.engine.evaluation", "evaluate"),
    "Views": ("plusx.data.views", "Views"),  # crops, scales, mirror images: what of an image is evaluated
    "predict": ("plusx.deploy.predictor", "predict"),
    "Predictor": ("plusx.deploy.predictor", "Predictor"),
    "demo": ("plusx.experiments.demo", "demo"),  # deeper plain nets train worse: seen on digits, in a minute
    "reproduce": ("plusx.experiments.reproduce", "reproduce"),  # a table or figure of the papers, paper beside ours
    "standing": ("plusx.experiments.reproduce", "standing"),  # how far each of them has come
    "benchmark_training": ("plusx.benchmark.training", "benchmark_training"),
}

__all__ = [
    "Predictor",
    "StoppedError",
    "Views",
    "analyse",
    "benchmark_training",
    "build",
    "check",
    "compare",
    "convert",
    "cost",
    "demo",
    "entry",
    "evaluate",
    "load",
    "names",
    "option_value",
    "predict",
    "recipe_entry",
    "recipe_names",
    "reproduce",
    "resume",
    "settings",
    "standing",
    "summarise",
    "train",
]


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("plusx")
    if name not in _HOMES:
        raise AttributeError(f"module 'plusx' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
