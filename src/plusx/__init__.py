"""plusx: residual networks and the convolutional networks before and after them, y = F(x) + x.

Everything that the command line does, as functions. Files and folders may be named by str or Path.

    train(data)                   train a net on digits, CIFAR, ImageNet or a folder of images; leaves a run directory
    find_lr(data)                 a learning rate to begin with, by a sweep that leaves nothing changed
    cross_validate(data, folds)   a run for each fold of the images, and the error on images that each has not seen
    resume(run)                   resume a run that was stopped or killed, to the same weights bit for bit
    evaluate(run)                 error, calibration and confusions on images that the run was not trained on
    calibrate(run)                probabilities that are right as often as they say, and when to answer `unknown`
    compare_runs(runs)            results, costs, settings, and images that one gets right and another wrong
    predict(run, images)          the most probable classes of images
    predict_files(run, sources)   the same for files, folders, patterns and CSV tables, with a contact sheet
    Predictor(run)                predict() for many calls: the net is loaded once
    serve(models)                 an HTTP server with a page, for programs and for people
    ServerSettings(port)          its address, its limits and its times
    load(run)                     the trained net, an nn.Module in evaluation mode, and its card
    analyse(run, question)        a question about a trained net, answered by a figure and its numbers
    explain(run, image)           which places of an image, or which blocks, speak for a class
    explain_files(run, sources)   the same for files, folders and patterns, as a page with figures
    convert(weights, net)         a run directory from other people's weights
    export(run, to)               a file for ONNX Runtime, OpenVINO, PyTorch, torchvision or timm, compared with the net
    read_metadata(file)           what an exported file says of itself: classes, preprocessing, the run's card
    ExportRefusedError            raised when an exported file would not compute what the net does

    list_nets()                   the names of all nets
    describe_net(name)            a net's paper, table, facts and options
    build(name)                   a net by its name, with random weights or somebody's
    cost(net, shape)              parameters, multiply-adds, memory and receptive fields, layer by layer
    summarise(net_or_run)         the same for a name of the catalog or a run directory
    compare(nets_or_runs)         the same for several

    list_recipes()                the names of all recipes
    describe_recipe(name)         a recipe, and what its documentation says
    list_settings(recipe)         every field of a recipe with its value and meaning, as train(overrides=...) takes it
    parse_option(text)            the value of a net's option that is written as text
    check_data(folder_or_table)   what a folder or a table of images holds, what is left out, and what looks wrong
    write_check(check, out)       the same as a page with images
    prepare_data(folder, out)     its images decoded and made smaller once, so that training reads them fast
    prepare_imagenet(from, out)   ImageNet as class folders, from its official archives
    Views(crops, scales)          which crops and scales of an image evaluate() averages

    demo()                        deeper plain nets train worse, residual nets do not: four nets in about a minute
    list_experiments()            the papers' experiments, and how far each has come
    reproduce(experiment)         run one of them; the paper's numbers beside ours
    benchmark_training(net)       training speed on this machine, beside plain PyTorch
    benchmark_inference(run)      how fast each form of a run predicts here: plusx itself, and what export() makes
    StoppedError                  raised when a run ends before its last step

A verb is imported when it is first used, so that `import plusx` is quick. What takes long shows a bar in a terminal or
a notebook; progress=False shows nothing, and progress=function calls the function instead.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one list of public names, which `_homes` reads when the package is imported
    from plusx.analysis.analyse import analyse
    from plusx.analysis.cost import compare, cost, summarise
    from plusx.analysis.explain import explain, explain_files
    from plusx.benchmark.inference import benchmark_inference
    from plusx.benchmark.training import benchmark_training
    from plusx.comparison.compare import compare_runs
    from plusx.data.check import check_data
    from plusx.data.imagenet import prepare_imagenet
    from plusx.data.prepare import prepare_data
    from plusx.data.views import Views
    from plusx.deploy.export.export import export
    from plusx.deploy.export.metadata import read_metadata
    from plusx.deploy.export.verify import ExportRefusedError
    from plusx.deploy.predicted import predict_files
    from plusx.deploy.predictor import Predictor, predict
    from plusx.deploy.server.serve import serve
    from plusx.deploy.server.settings import Settings as ServerSettings
    from plusx.engine.calibration import calibrate
    from plusx.engine.evaluation import evaluate
    from plusx.engine.events import StoppedError
    from plusx.engine.folds import cross_validate
    from plusx.engine.rate import find_lr
    from plusx.engine.training import resume, train
    from plusx.experiments.demo import demo
    from plusx.experiments.reproduce import list_experiments, reproduce
    from plusx.nets import entry as describe_net
    from plusx.nets import names as list_nets
    from plusx.recipes import recipe_entry as describe_recipe
    from plusx.recipes import recipe_names as list_recipes
    from plusx.recipes import settings as list_settings
    from plusx.recipes.text import option_value as parse_option
    from plusx.report.findings import write_check
    from plusx.runs.store import load_run as load
    from plusx.weights.convert import convert
    from plusx.weights.start import build

    __version__: str

_RENAMED = {
    "check": "check_data",
    "entry": "describe_net",
    "names": "list_nets",
    "option_value": "parse_option",
    "recipe_entry": "describe_recipe",
    "recipe_names": "list_recipes",
    "settings": "list_settings",
    "standing": "list_experiments",
}
"""Names of version 0.1."""


def _homes() -> dict[str, tuple[str, str]]:
    """Public name -> its module, and its name there; read from the imports above, so that each is listed once."""
    source, homes = Path(__file__).read_text(encoding="utf-8"), {}
    for module, imported in re.findall(r"^    from (plusx\.\S+) import (.+)$", source, re.MULTILINE):
        for item in imported.split(", "):
            own, _, public = item.partition(" as ")
            homes[public or own] = (module, own)
    return homes


_HOMES = _homes()
__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("plusx")
    if name in _RENAMED:
        raise AttributeError(f"plusx.{name} is now plusx.{_RENAMED[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'plusx' has no attribute {name!r}")
    module, own = _HOMES[name]
    return getattr(import_module(module), own)
