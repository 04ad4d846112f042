"""`plusx benchmark train`."""

import pytest

from tests.cli.commands import result


@pytest.mark.more
def test_benchmark_prints_its_ratio() -> None:
    measured = result("benchmark", "train", "--net", "resnet20", "--batch", "4", "--rounds", "2")
    assert measured["ratio_to_eager_fp32"] > 0 and measured["batch"] == 4  # type: ignore[operator]
