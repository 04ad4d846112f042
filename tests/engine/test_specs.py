"""What a recipe names is made, or is an error: nothing that is unknown is left out in silence."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from torch import nn

from plusx.benchmark.training import noise
from plusx.data.augment import make_augmentation
from plusx.data.preprocess import fit_preprocess
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.penalty import touched
from plusx.engine.schedule import multiplier
from plusx.recipes.augment import Augment
from plusx.recipes.optim import Optim
from plusx.recipes.schedule import Constant, Schedule, Warmup

ROOT = Path(__file__).parents[2]
PREPROCESS = fit_preprocess(noise("resnet20", 4))
NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))


@dataclass(frozen=True)
class Unheard:
    """Of no union; an optimizer as far as its groups look."""

    decay: Any = "biases"
    lr: float = 0.1
    layer_decay: float = 1.0
    head_lr: float | None = None


UNKNOWN: dict[str, Callable[[], object]] = {
    "augmentation": lambda: make_augmentation((Unheard(),), PREPROCESS),  # type: ignore[arg-type]
    "optimizer": lambda: make_optimizer(Unheard(decay="all"), NET),  # type: ignore[arg-type]
    "schedule": lambda: multiplier(Unheard(), 0 / 10),  # type: ignore[arg-type]
    "warmup": lambda: multiplier(Constant(), 0 / 10, warmup=Warmup(shape="cosine")),  # type: ignore[arg-type]
    "loss": lambda: make_loss(Unheard()),  # type: ignore[arg-type]
    "penalty": lambda: touched(NET, "biases"),  # type: ignore[arg-type]
    "decay": lambda: make_optimizer(Unheard(), NET),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_spec_of_an_unknown_kind_is_an_error_and_not_left_out(kind: str) -> None:
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        UNKNOWN[kind]()


def test_every_kind_of_the_unions_is_made() -> None:
    for item in get_args(Augment):
        made = make_augmentation((item(),), PREPROCESS)
        assert made.crop or made.change or made.by_epoch or made.pixels or made.mix or made.mirror, item
    for spec in get_args(Optim):
        make_optimizer(spec(), NET)
    for schedule in get_args(Schedule):
        assert multiplier(schedule(), 0 / 10) > 0


@pytest.mark.slow
@pytest.mark.parametrize("union", ["Augment", "Optim", "Schedule"])
def test_a_kind_that_nobody_makes_is_found_by_the_type_checker(union: str, tmp_path: Path) -> None:
    base, decay = ("_Layered", "Touched") if union == "Optim" else ("object", "str")
    new = f'@dataclass(frozen=True)\nclass Unheard({base}):\n    """New."""\n\n    decay: {decay} = "all"\n\n\n'
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "src" / "plusx" / "recipes" / f"{union.lower()}.py"
    text = file.read_text(encoding="utf-8")
    line = next(x for x in text.splitlines() if x.startswith(f"{union} = "))
    file.write_text(text.replace(f"{line}\n", f"{new}{line} | Unheard\n"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "src/plusx"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert '"assert_never" has incompatible type "Unheard"' in done.stdout, done.stdout
