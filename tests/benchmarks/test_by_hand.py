"""Files that are timed beside each other compute the same."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.by_hand import BY_HAND, PIXELS, RUNTIMES, contenders
from plusx.deploy.export.forms import FORMS
from plusx.placement.inference.openvino import is_installed


@pytest.mark.more
@pytest.mark.parametrize("to", RUNTIMES)
def test_all_files_give_the_same_logits(to: str, tmp_path: Path) -> None:
    if not is_installed(*FORMS[to].needs):
        pytest.skip(f"{to} is not installed")
    logits = {who: call() for who, call in contenders("resnet20", 3, to, tmp_path).items()}
    assert logits.keys() == {BY_HAND, *PIXELS}
    for pixels in PIXELS:
        np.testing.assert_allclose(logits[pixels], logits[BY_HAND], atol=1e-4)
