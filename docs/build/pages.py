"""Which table stands between which markers of which file."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from docs.build import busy, export, gpu, inference, performance, reading, readme, serving, story, training
from docs.build.results import ROOT
from docs.build.words import WORDS, Words
from plusx.experiments.story import EXPERIMENTS

Tables = Mapping[str, Callable[[], str]]
"""What writes each table, by its marker: it stands between <!-- marker --> and <!-- /marker -->."""


def _in_words(words: Words) -> Tables:
    tables: Mapping[str, Callable[[Words], str]] = {
        "degradation": readme.degradation_table,
        "nets": readme.nets_table,
        "peers": readme.peers_sentence,
        "cifar10": readme.cifar10_sentence,
        "finetune": readme.finetune_table,
        "speed": readme.speed_table,
        "accuracy": readme.accuracy_lines,
        "experiments": readme.experiments_table,
        "table6": readme.cifar10_table,
    }
    return {marker: partial(write, words) for marker, write in tables.items()}


PAGES: Mapping[str, Tables] = {
    **{name: _in_words(words) for name, words in WORDS.items()},
    "docs/performance.md": {
        "processors": training.summary_table,
        "bars": performance.bars_table,
        "training": training.training_table,
        "profile": training.profile_table,
        "busy": busy.busy_table,
        "kernels": performance.kernels_table,
        "reading": reading.reading_table,
        "depth": performance.depth_table,
        "inference": inference.inference_table,
        "accuracy": performance.accuracy_table,
        "gpu": gpu.gpu_tables,
    },
    "docs/export.md": {"exported": export.export_table, "by-hand": export.by_hand_table, "int8": export.int8_table},
    "docs/serving.md": {"served": serving.serving_tables},
    "docs/story.md": {name: partial(story.experiment_section, name) for name in EXPERIMENTS},
}
"""Every file with tables of results/."""


def built(name: str) -> str:
    """The text of a file, with its tables as results/ has them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for marker, write in PAGES[name].items():
        between = re.compile(rf"(<!-- {marker} -->\n)(?:.*?\n)?(<!-- /{marker} -->)", re.DOTALL)
        text = between.sub(lambda match, write=write: f"{match[1]}{write()}\n{match[2]}", text)  # type: ignore[misc]
    return text
